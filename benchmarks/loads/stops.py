"""SIGTERM under load, again and again: is every request that was accepted answered, once, and rightly?"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import twins
from loads.forked import ForkedTwins
from loads.networks import images, write_tiny_networks
from served import KeptConnection, ServerProcess, multipart, server_process
from twins.progress import Progress

CLIENTS = 8
LONGEST = 1.0  # seconds of load before the signal


class Client(threading.Thread):
    """Asks one thing after another until nobody listens any more."""

    def __init__(self, address: str, name: str, content: bytes, expected: list[tuple[str, float]]) -> None:
        super().__init__()
        self.connection, self.title, self.expected = KeptConnection(address), name, expected
        self.body, self.headers = multipart(("a.png", content))
        self.answers: list[tuple[str, int]] = []  # request, status; 0: no answer
        self.wrong = 0

    def run(self) -> None:
        number = 0
        while True:
            number += 1
            request = f"{self.title}-{number}"
            try:
                status, content = self.connection.post("/predict", self.body, {**self.headers, "X-Request-Id": request})
            except ConnectionRefusedError:
                return
            except (OSError, http.client.HTTPException):
                self.answers.append((request, 0))
                continue
            self.answers.append((request, status))
            if status == 200:
                found = json.loads(content)["results"][0]["classes"]
                pairs = [(one["name"], one["probability"]) for one in found]
                self.wrong += [name for name, _ in pairs] != [name for name, _ in self.expected] or any(
                    abs(p - q) > 1e-4 for (_, p), (_, q) in zip(pairs, self.expected, strict=True)
                )
            elif status == 503:
                time.sleep(0.02)


def stop_once(server: ServerProcess, contents: list[bytes], expected: list[Any], seconds: float) -> Counter[str]:
    """Load for so long, then SIGTERM. What is wrong has a name that begins with "fault"."""
    clients = [Client(server.address, f"client{i}", contents[i], expected[i]) for i in range(CLIENTS)]
    for client in clients:
        client.start()
    time.sleep(seconds)
    status = server.stop(signal.SIGTERM)
    for client in clients:
        client.join(60)
        client.connection.close()
    answers = Counter(answer for client in clients for answer in client.answers)
    got = Counter({request: number for (request, status), number in answers.items() if status == 200})
    logged = Counter(server.answered(200))
    statuses = Counter(f"status {status or 'none'}" for client in clients for _, status in client.answers)
    return statuses + Counter(
        {
            "stops": 1,
            "fault: exit status": int(status != 0),
            "fault: wrong answers": sum(client.wrong for client in clients),
            "fault: accepted, and not answered": (logged - got).total(),
            "fault: answered twice": sum(number > 1 for number in got.values()),
            "fault: traceback": sum("Traceback" in line for line in server.lines),
        }
    )


def measure(count: int) -> dict[str, Any]:
    """A row: what clients got, and every fault, over so many stops."""
    rng = random.Random(0)
    totals: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        weights = write_tiny_networks(Path(folder))["one"]
        contents = images(CLIENTS)
        predictor = twins.load(weights, device="cpu", dtype="fp32")
        paths = [Path(folder, f"{i}.png") for i in range(CLIENTS)]
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
        expected = [predictor(path).top for path in paths]

        def one(seconds: float) -> Counter[str]:
            with server_process(weights, "--device", "cpu", start=ForkedTwins) as server:
                return stop_once(server, contents, expected, seconds)

        with ThreadPoolExecutor(os.cpu_count()) as servers:
            done = servers.map(one, [rng.uniform(0.02, LONGEST) for _ in range(count)])
            try:
                for outcome in Progress("stops", count).over(done):
                    totals += outcome
            except KeyboardInterrupt:
                servers.shutdown(wait=False, cancel_futures=True)
                print("stops: stopped by Ctrl-C", flush=True)
    faults = {name: number for name, number in totals.items() if name.startswith("fault")}
    answers = {name: number for name, number in sorted(totals.items()) if name.startswith("status")}
    return {
        "part": "stops",
        "clients": CLIENTS,
        "at_once": os.cpu_count(),
        "stops": totals["stops"],
        "answers": answers,
        "faults": faults,
    }

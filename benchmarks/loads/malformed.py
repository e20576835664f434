"""Requests that are wrong in every way: each has one answer of the right kind, and memory stays what it was."""

from __future__ import annotations

import json
import random
import socket
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from loads.clients import outcomes
from loads.networks import images, write_tiny_networks
from served import KeptConnection, multipart, resident_megabytes, server_process

CLIENTS = 8
WARM_UP = 0.05  # of the requests, after which memory counts
FORM = "multipart/form-data; boundary=1f2e3d4c"


class Malformed:
    """Makes wrong requests; each method sends one and returns the status that came, 0 for a closed connection."""

    def __init__(self, address: str) -> None:
        parts = urlparse(address)
        self.where = (parts.hostname, parts.port)
        self.good = [*images(4), *images(4, kind="JPEG"), *images(2, kind="GIF"), *images(2, kind="TIFF")]
        self.kinds: list[Callable[[KeptConnection, random.Random], int]] = [
            self.damaged_image, self.damaged_form, self.damaged_json, self.wrong_value, self.wrong_address,
            self.no_http, self.cut_off, self.too_large, self.empty,
        ]  # fmt: skip

    def ask(self, connection: KeptConnection, seed: int) -> str:
        """Of the kind that the number says; the status, and "fault" before it where there may be no such status."""
        rng = random.Random(seed)
        kind = self.kinds[seed % len(self.kinds)]
        status = kind(connection, rng)
        allowed = 400 <= status < 500 or (status in (0, 200) and kind in (self.damaged_image, self.cut_off))
        allowed = allowed or (status == 0 and kind == self.no_http)
        return f"{'' if allowed else 'fault: '}{kind.__name__} {status}"

    def damaged_image(self, connection: KeptConnection, rng: random.Random) -> int:
        """Some bytes are others, or it ends early: what can still be read may be answered."""
        content = bytearray(rng.choice(self.good))
        for _ in range(rng.randint(1, 8)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        body, headers = multipart(("a.png", bytes(content[: rng.randint(1, len(content))])))
        return connection.post("/predict", body, headers)[0]

    def damaged_form(self, connection: KeptConnection, rng: random.Random) -> int:
        body = bytearray(multipart(("a.png", b"x" * rng.randint(0, 100)))[0])
        del body[(at := rng.randrange(len(body))) : at + rng.randint(1, 40)]
        return connection.post("/predict", bytes(body), {"Content-Type": FORM})[0]

    def damaged_json(self, connection: KeptConnection, rng: random.Random) -> int:
        body = bytearray(json.dumps({"images": [{"name": "a", "data": "AAAA"}], "topk": 2}).encode())
        body[rng.randrange(len(body))] = rng.randrange(256)
        return connection.post("/predict", bytes(body), {"Content-Type": "application/json"})[0]

    def wrong_value(self, connection: KeptConnection, rng: random.Random) -> int:
        body, headers = multipart(("a.png", rng.choice(self.good)))
        query = rng.choice(["model=nobody", "topk=0", "topk=x", "conf=0.5", "model=detector&conf=7", "topk=-1"])
        return connection.post(f"/predict?{query}", body, headers)[0]

    def wrong_address(self, connection: KeptConnection, rng: random.Random) -> int:
        path = "/" + "".join(rng.choices("abc./%2e-_~", k=rng.randint(1, 60)))
        return connection.post(path, b"x" * rng.randint(0, 1000), {})[0]

    def empty(self, connection: KeptConnection, rng: random.Random) -> int:
        return connection.post("/predict", b"", rng.choice([{}, {"Content-Type": FORM}]))[0]

    def too_large(self, connection: KeptConnection, rng: random.Random) -> int:
        body, headers = multipart(("a.png", bytes(rng.randint(1_100_000, 1_500_000))))
        return connection.post("/predict", body, headers)[0]

    def no_http(self, connection: KeptConnection, rng: random.Random) -> int:
        return self._raw(rng.randbytes(rng.randint(1, 500)) + b"\r\n\r\n")

    def cut_off(self, connection: KeptConnection, rng: random.Random) -> int:
        """The client leaves in the middle of its upload."""
        body, _ = multipart(("a.png", rng.choice(self.good)))
        head = f"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: {FORM}\r\nContent-Length: {len(body)}\r\n\r\n"
        return self._raw((head.encode() + body)[: rng.randint(1, len(head) + len(body) - 1)])

    def _raw(self, content: bytes) -> int:
        with socket.create_connection(self.where, timeout=60) as opened:
            opened.sendall(content)
            opened.shutdown(socket.SHUT_WR)
            try:
                line = opened.recv(4096).split(b" ")
            except ConnectionResetError:
                return 0
        return int(line[1]) if len(line) > 1 else 0


def measure(count: int) -> dict[str, Any]:
    """A row: what was answered, every fault, and how memory grew once a twentieth had come."""
    verdicts: Counter[str] = Counter()
    warm = 0.0
    with tempfile.TemporaryDirectory() as folder:
        files = write_tiny_networks(Path(folder))
        served = [f"{name}={files[name]}" for name in ("one", "detector")]
        flags = ("--device", "cpu", "--no-request-log", "--max-upload-mb", "1")
        with server_process(*served, *flags) as server:
            malformed = Malformed(server.address)
            for verdict in outcomes("malformed requests", server.address, count, CLIENTS, malformed.ask):
                verdicts[verdict] += 1
                if not warm and verdicts.total() >= WARM_UP * count:
                    warm = resident_megabytes(server.process.pid)
            grown = resident_megabytes(server.process.pid) - warm
            body, headers = multipart(("a.png", malformed.good[0]))
            after = KeptConnection(server.address)
            well = after.post("/predict", body, headers)[0] == 200
            after.close()
            status = server.stop()
            tracebacks = sum("Traceback" in line for line in server.lines)
    faults = {name: number for name, number in verdicts.items() if name.startswith("fault")}
    return {
        "part": "malformed",
        "clients": CLIENTS,
        "requests": verdicts.total(),
        "answers": dict(sorted(verdicts.items())),
        "faults": faults | ({"tracebacks": tracebacks} if tracebacks else {}),
        "megabytes_when_warm": round(warm),
        "megabytes_grown": round(grown, 1),
        "well_afterwards": well,
        "exit_status": status,
    }

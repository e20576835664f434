"""A server on a Ray cluster of two nodes on this machine, of which one is killed under load."""

from __future__ import annotations

import base64
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import urlopen

import pytest

from helpers.ray_nodes import two_ray_nodes
from helpers.servers import encoded, noise
from predict.test_predict import checkpoint
from served import ServerProcess, server_process
from twins.client import Client
from twins.errors import TwinsError
from twins.predict import load_predictor

IMAGES = [noise(40 + i, 48, seed=i) for i in range(8)]
FILES = [encoded(image) for image in IMAGES]
CLIENTS = 4
LOST = re.compile(r": 5\d\d |: no answer |the server stops")  # what a client may be told of a machine that has died


class Load:
    """Clients that send images one after the other, know what has to come back, and count what does."""

    def __init__(self, address: str, expected: list[list[float]]) -> None:
        self.client, self.expected = Client(address), expected
        self.right = self.wrong = 0
        self.refused: list[tuple[float, str]] = []  # when the request was sent, and what was said
        self.lock = threading.Lock()

    def ask(self, number: int) -> None:
        image, sent = number % len(FILES), time.monotonic()
        try:
            (result,) = self.client.predict([FILES[image]])
        except TwinsError as error:
            with self.lock:
                self.refused.append((sent, str(error)))
            return
        found = probabilities(result)
        with self.lock:
            if found == pytest.approx(self.expected[image], abs=1e-5):
                self.right += 1
            else:
                self.wrong += 1

    def send(self, requests: int) -> None:
        with ThreadPoolExecutor(CLIENTS) as clients:
            list(clients.map(self.ask, range(requests)))

    @contextmanager
    def running(self) -> Iterator[None]:
        """As long as the context lasts."""
        over, numbers = threading.Event(), count()

        def go_on() -> None:
            while not over.is_set():
                self.ask(next(numbers))

        clients = [threading.Thread(target=go_on) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        try:
            yield
        finally:
            over.set()
            for client in clients:
                client.join()


def replicas_of(address: str, asked: int) -> Counter[str]:
    """Predictions that each replica has answered, of those that were met."""
    answered: Counter[str] = Counter()
    for _ in range(asked):
        with urlopen(f"{address}/metrics") as answer:
            text = answer.read().decode()
        for name, number in re.findall(r'requests_total{replica="(\w+)",route="/predict",status="200"} (\d+)', text):
            answered[name] = int(number)
    return answered


def wait_for(what: Callable[[], bool], seconds: float = 120) -> None:
    give_up = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < give_up
        time.sleep(0.1)


def refused(*arguments: str | Path) -> str:
    """The line of a command that cannot begin."""
    command = [sys.executable, "-m", "twins.cli", "serve", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    return done.stderr


@contextmanager
def slow_upload(address: str, file: bytes) -> Iterator[Callable[[], list[float]]]:
    """A request whose first half is there; what is given sends the rest, and returns the probabilities."""
    parts = urlparse(address)
    body = json.dumps({"images": [{"name": "slow.png", "data": base64.b64encode(file).decode()}]}).encode()
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=60)
    connection.putrequest("POST", "/predict")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body[:100])
    time.sleep(1)  # until a replica has accepted it

    def finish() -> list[float]:
        connection.send(body[100:])
        with connection.getresponse() as answer:
            content = json.load(answer)
        assert answer.status == 200, content
        return probabilities(content["results"][0])

    try:
        yield finish
    finally:
        connection.close()


def probabilities(result: dict[str, Any]) -> list[float]:
    """In the order of the classes."""
    return [one["probability"] for one in sorted(result["classes"], key=lambda one: int(one["label"]))]


def kill_under_load(server: ServerProcess, load: Load, kill: Callable[[], None]) -> None:
    """Until both replicas are there again."""
    with load.running():
        wait_for(lambda: load.right > 20)
        kill()
        wait_for(lambda: "1 of 2 replicas answer" in server.lines)
        wait_for(lambda: server.lines[-1] == "2 of 2 replicas answer")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_replicas_answer_alike_outlive_a_node_and_finish_what_they_accepted(tmp_path: Path) -> None:
    weights, _ = checkpoint(tmp_path, "classify")
    predicted = load_predictor(weights, "cpu", dtype="fp32")(IMAGES)
    expected = [prediction.probabilities.tolist() for prediction in predicted]
    with two_ray_nodes(cpus=2) as nodes:
        on_cluster = (weights, "--ray", nodes.address, "--replicas", "2")
        with server_process(*on_cluster) as server:
            assert server.lines[0].startswith("twins_svt_small: classify, 3 classes, ")
            assert server.lines[1].startswith("2 replicas on ")
            load = Load(server.address, expected)
            load.send(60)
            assert (load.right, load.wrong, load.refused) == (60, 0, [])
            answered = replicas_of(server.address, asked=40)
            assert sum(answered.values()) == 60
            assert len(answered) == 2
            assert min(answered.values()) > 10
            assert "Ray Serve runs there already (twins)" in refused(*on_cluster)

            kill_under_load(server, load, nodes.kill_second)
            assert load.wrong == 0
            assert all(LOST.search(line) for _, line in load.refused), load.refused
            load.refused.clear()
            load.send(40)
            assert (load.wrong, load.refused) == (0, [])

            with load.running(), slow_upload(server.address, FILES[0]) as finish:
                stopped = time.monotonic()
                server.process.send_signal(signal.SIGTERM)
                time.sleep(1.5)
                assert finish() == pytest.approx(expected[0], abs=1e-5)
                assert server.process.wait(60) == 0
            assert load.wrong == 0
            assert [line for sent, line in load.refused if sent < stopped] == []
            assert all(LOST.search(line) for _, line in load.refused), load.refused
        assert "Traceback" not in "\n".join(server.lines)
        with server_process(*on_cluster) as again:  # the cluster has gone on
            Load(again.address, expected).send(4)
            assert again.stop() == 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_cannot_begin_on_a_cluster_is_one_line(tmp_path: Path) -> None:
    weights, _ = checkpoint(tmp_path, "classify")
    broken = tmp_path / "broken.pth"
    broken.write_bytes(b"no checkpoint")
    with two_ray_nodes(cpus=1) as nodes, socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert "choose another --port, 0 for a free one (on the cluster's head)" in refused(
            weights, "--ray", nodes.address, "--port", port
        )
        line = refused(broken, "--ray", nodes.address, "--port", "0")
        assert re.search(r"broken\.pth.*\(on .+\)", line)

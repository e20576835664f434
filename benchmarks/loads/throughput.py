"""Twins-SVT-S under 32 clients: images a second beside the engine alone, how long clients wait, and memory."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import torch

import twins
from loads.clients import outcomes
from loads.networks import images, write_small_svt
from served import KeptConnection, multipart, resident_megabytes, server_process
from twins.data.image_source import ImageBytes

CLIENTS = 32
BATCH = 16
BLOCK = 1000  # requests between two looks at the engine alone: the machine's speed changes within minutes
SECONDS = 10.0  # of the engine alone, each time
WARM_UP = 0.1  # of the requests, after which memory counts


class EngineAlone:
    """The same network in this process, in batches of 16 that are ready before."""

    def __init__(self, weights: Path, contents: list[bytes], decoder: str) -> None:
        self.predictor = twins.load(weights, device="cpu", dtype="fp32")
        self.predictor.use_decoder(decoder)
        prepared = [self.predictor.prepare(ImageBytes("", content)) for content in contents[:BATCH]]
        self.tensors, self.sizes = [one.tensor for one in prepared], [one.size for one in prepared]

    def images_per_second(self) -> float:
        """The median over so many seconds."""
        rates, ends = [], time.perf_counter() + SECONDS
        with torch.no_grad():
            while time.perf_counter() < ends:
                started = time.perf_counter()
                self.predictor.predict_tensors(self.tensors, self.sizes)
                rates.append(BATCH / (time.perf_counter() - started))
        return statistics.median(rates)


def images_a_batch(address: str) -> float:
    """The mean, as the server counts."""
    with urlopen(f"{address}/metrics") as answer:
        lines = dict(line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if line[0] != "#")
    of = {kind: float(lines[f'twins_batch_images_{kind}{{model="svt"}}']) for kind in ("sum", "count")}
    return of["sum"] / of["count"]


def measure(count: int, decoder: str) -> dict[str, Any]:
    """A row. JPEG files of 224 pixels, one a request, since decoding is not what is measured."""
    contents = images(BATCH, side=224, kind="JPEG")
    bodies = [multipart((f"{number}.jpg", content)) for number, content in enumerate(contents)]
    verdicts: Counter[int] = Counter()
    waits: list[float] = []
    warm = 0.0

    def ask(connection: KeptConnection, number: int) -> tuple[int, float]:
        body, headers = bodies[number % BATCH]
        started = time.perf_counter()
        status, content = connection.post("/predict", body, headers)
        seconds = time.perf_counter() - started
        right = status != 200 or json.loads(content)["results"][0]["file"] == f"{number % BATCH}.jpg"
        return (status if right else 0), seconds

    with tempfile.TemporaryDirectory() as folder:
        weights = write_small_svt(Path(folder))
        engine = EngineAlone(weights, contents, decoder)
        alone, served = [engine.images_per_second()], []
        with server_process(f"svt={weights}", "--device", "cpu", "--decoder", decoder, "--no-request-log") as server:
            for block in blocks_of(count):
                started, before = time.perf_counter(), len(waits)
                for status, seconds in outcomes("requests", server.address, block, CLIENTS, ask):
                    verdicts[status] += 1
                    waits.append(seconds)
                    if not warm and len(waits) >= WARM_UP * count:
                        warm = resident_megabytes(server.process.pid)
                served.append((len(waits) - before) / (time.perf_counter() - started))
                alone.append(engine.images_per_second())
                if len(waits) - before < block:  # stopped by Ctrl-C
                    break
            after, batch = resident_megabytes(server.process.pid), images_a_batch(server.address)
            exit_status = server.stop()
    p50, p99 = np.percentile(waits, (50, 99))
    shares = [2 * rate / (alone[i] + alone[i + 1]) for i, rate in enumerate(served)]  # of the engine before and after
    return {
        "network": "twins_svt_small",
        "decoder": decoder,
        "clients": CLIENTS,
        "requests": len(waits),
        "errors": {str(status): number for status, number in verdicts.items() if status != 200},
        "images_per_second": round(statistics.median(served), 2),
        "engine_alone": round(statistics.median(alone), 2),
        "share_of_the_engine": round(statistics.median(shares), 3),
        "shares_least_and_most": [round(min(shares), 3), round(max(shares), 3)],
        "images_a_batch": round(batch, 2),
        "p50_ms": round(1000 * float(p50)),
        "p99_ms": round(1000 * float(p99)),
        "megabytes_when_warm_and_after": [round(warm), round(after)],
        "exit_status": exit_status,
    }


def blocks_of(count: int) -> list[int]:
    """Whole blocks, and what is left in one more."""
    return [BLOCK] * (count // BLOCK) + [count % BLOCK] * (count % BLOCK > 0)

"""Twins-SVT-S under 32 clients: images a second beside the engine alone, how long clients wait, and memory."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import torch
from PIL import Image

import twins
from loads.clients import outcomes
from loads.networks import images, write_small_svt
from served import KeptConnection, multipart, resident_megabytes, server_process

CLIENTS = 32
BATCH = 16
SECONDS = 20.0  # of the engine alone, before and after
WARM_UP = 0.1  # of the requests, after which memory counts


def engine_alone(weights: Path, contents: list[bytes]) -> float:
    """Images a second of the same network in this process, in batches of 16 that are ready before."""
    predictor = twins.load(weights, device="cpu", dtype="fp32")
    opened = [predictor.read(Image.open(BytesIO(content))) for content in contents[:BATCH]]
    tensors = [predictor.as_tensor(image) for image in opened]
    sizes = [(image.height, image.width) for image in opened]
    rates, ends = [], time.perf_counter() + SECONDS
    with torch.no_grad():
        predictor.predict_tensors(tensors, sizes)
        while time.perf_counter() < ends:
            started = time.perf_counter()
            predictor.predict_tensors(tensors, sizes)
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
        alone = [engine_alone(weights, contents)]
        with server_process(f"svt={weights}", "--device", "cpu", "--decoder", decoder, "--no-request-log") as server:
            started = time.perf_counter()
            for status, seconds in outcomes("requests", server.address, count, CLIENTS, ask):
                verdicts[status] += 1
                waits.append(seconds)
                if not warm and len(waits) >= WARM_UP * count:
                    warm = resident_megabytes(server.process.pid)
            served = len(waits) / (time.perf_counter() - started)
            after, batch = resident_megabytes(server.process.pid), images_a_batch(server.address)
            exit_status = server.stop()
        alone.append(engine_alone(weights, contents))
    p50, p99 = np.percentile(waits, (50, 99))
    return {
        "network": "twins_svt_small",
        "decoder": decoder,
        "clients": CLIENTS,
        "requests": len(waits),
        "errors": {str(status): number for status, number in verdicts.items() if status != 200},
        "images_per_second": round(served, 2),
        "engine_alone_before_and_after": [round(rate, 2) for rate in alone],
        "share_of_the_engine": round(served / max(alone), 3),  # a slow one was disturbed
        "images_a_batch": round(batch, 2),
        "p50_ms": round(1000 * float(p50)),
        "p99_ms": round(1000 * float(p99)),
        "megabytes_when_warm_and_after": [round(warm), round(after)],
        "exit_status": exit_status,
    }

"""Requests of every kind at once, each answer compared with what the predictor itself says."""

from __future__ import annotations

import base64
import json
import random
import tempfile
import time
from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import twins
from loads.clients import outcomes
from loads.networks import images, write_tiny_networks
from served import KeptConnection, multipart, resident_megabytes, server_process

CLIENTS = 32
IMAGES = 24
MOST = 4  # images of a request
CLOSE = 1e-4  # between a probability, a score or a pixel of a box and the expected one
CONF = 0.2


class Oracle:
    """What each network says of each image; no two images may be so alike that one could pass for another."""

    def __init__(self, files: dict[str, Path]) -> None:
        self.images = images(IMAGES)
        opened = [Image.open(BytesIO(content)) for content in self.images]
        self.sizes = [image.size for image in opened]
        self.models = list(files)
        self.expected: dict[str, list[Any]] = {}
        for name, file in files.items():
            settings = {"conf": CONF} if name == "detector" else {}
            predictor = twins.load(file, device="cpu", dtype="fp32", **settings)
            self.expected[name] = [self._facts(predictor(image)) for image in opened]
        for name, facts in self.expected.items():
            for number, fact in enumerate(facts):
                alike = any(_alike(fact, other, 10 * CLOSE) for other in facts[:number])
                assert fact.size, f"{name}: nothing in image {number}"
                assert not alike, f"{name}: image {number} is like another"

    @staticmethod
    def _facts(prediction: Any) -> np.ndarray:
        for field in ("probabilities", "mask"):
            if hasattr(prediction, field):
                return np.asarray(getattr(prediction, field))
        return np.hstack([np.asarray(prediction.scores)[:, None], np.asarray(prediction.boxes)])

    def ask(self, connection: KeptConnection, seed: int) -> str:
        """A random request; "right", or what is wrong with its answer."""
        rng = random.Random(seed)
        model, numbers = rng.choice(self.models), rng.choices(range(IMAGES), k=rng.randint(1, MOST))
        topk, request_id = rng.randint(4, 10), f"mixed-{seed}"
        query = f"?model={model}" + (f"&topk={topk}" if model in ("one", "other") else "")
        query += f"&conf={CONF}" if model == "detector" else ""
        if rng.random() < 0.25:
            encoded = [{"name": f"{n}.png", "data": base64.b64encode(self.images[n]).decode()} for n in numbers]
            body, headers = json.dumps({"images": encoded}).encode(), {"Content-Type": "application/json"}
        else:
            body, headers = multipart(*((f"{number}.png", self.images[number]) for number in numbers))
        status, content = connection.post(f"/predict{query}", body, {**headers, "X-Request-Id": request_id})
        if status != 200:
            return f"status {status}"
        answer = json.loads(content)
        if answer["request_id"] != request_id or answer["model"] != model or len(answer["results"]) != len(numbers):
            return "another request's answer"
        for number, result in zip(numbers, answer["results"], strict=True):
            if wrong := self._compare(model, number, result, topk):
                return wrong
        return "right"

    def _compare(self, model: str, number: int, result: dict[str, Any], topk: int) -> str:
        if result["file"] != f"{number}.png" or (result["width"], result["height"]) != self.sizes[number]:
            return "another image's answer"
        expected = self.expected[model][number]
        if model == "segmenter":
            with Image.open(BytesIO(base64.b64decode(result["mask"]))) as mask:
                found = np.asarray(mask)
        elif model == "detector":
            found = np.array([[one["score"], *one["box"]] for one in result["objects"]]).reshape(-1, 5)
        else:
            found = np.array([one["probability"] for one in result["classes"]])
            expected = expected[[one["label"] for one in result["classes"]]]
            if len(found) != topk or not np.all(np.diff(found) <= 0):
                return "other classes than were asked for"
        return "" if _alike(found, expected, CLOSE) else "a wrong prediction"


def _alike(one: np.ndarray, other: np.ndarray, close: float) -> bool:
    return one.shape == other.shape and bool(np.abs(one.astype(float) - other.astype(float)).max() <= close)


def measure(count: int) -> dict[str, Any]:
    """A row: how many of the answers were right, and what the others were."""
    with tempfile.TemporaryDirectory() as folder:
        files = write_tiny_networks(Path(folder))
        oracle = Oracle(files)
        served = [f"{name}={file}" for name, file in files.items()]
        with server_process(*served, "--device", "cpu", "--no-request-log") as server:
            before, started = resident_megabytes(server.process.pid), time.monotonic()
            verdicts = Counter(outcomes("mixed requests", server.address, count, CLIENTS, oracle.ask))
            rate = verdicts.total() / (time.monotonic() - started)
            after = resident_megabytes(server.process.pid)
            status = server.stop()
    return {
        "part": "mixed",
        "clients": CLIENTS,
        "requests": verdicts.total(),
        "right": verdicts.pop("right", 0),
        "wrong": dict(verdicts),
        "requests_per_second": round(rate, 1),
        "megabytes_before_and_after": [round(before), round(after)],
        "exit_status": status,
    }

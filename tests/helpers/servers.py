"""Servers in this process, and images and requests for them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from twins.serve.models import ServedModel
from twins.serve.running import server_of
from twins.serve.settings import ServeSettings
from twins.serve.sockets import address_of, bind


@contextmanager
def listening(models: Sequence[ServedModel], settings: ServeSettings) -> Iterator[str]:
    """The address of a server that listens as long as the context lasts."""
    bound, up = bind("127.0.0.1", 0), threading.Event()
    address = address_of(bound)
    server = server_of(models, settings, up.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        assert up.wait(30)
        yield address
    finally:
        server.ask_to_stop()
        thread.join(30)
        assert not thread.is_alive()


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    """Coarse squares of any colours, which networks tell apart."""
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST)


def encoded(image: Image.Image, kind: str = "PNG", **settings: Any) -> bytes:
    file = BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def form(*files: tuple[str, bytes], field: str = "images") -> list[tuple[str, tuple[str, bytes]]]:
    """Files of a form, as the test client takes them."""
    return [(field, file) for file in files]


def problem(answer: Any, status: int) -> str:
    """The detail of a problem of this status; whatever a problem has to have is checked."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    content = answer.json()
    assert set(content) == {"type", "title", "status", "detail", "request_id"}
    assert (content["type"], content["status"]) == ("about:blank", status)
    assert content["request_id"] == answer.headers["x-request-id"]
    assert "\n" not in content["detail"]
    return str(content["detail"])

"""A line in the log for each request."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field

from ..shown_text import shown

LONGEST_PATH = 80  # characters


def new_id() -> str:
    """Of a request whose client gave none."""
    return uuid.uuid4().hex[:12]


@dataclass
class RequestRecord:
    """What is known of a request so far; times are in seconds, of its image that took longest."""

    method: str
    path: str
    id: str = field(default_factory=new_id)
    status: int = 0  # 0: no answer, as the client has gone
    model: str = ""
    images: int = 0
    decoding: float = 0.0
    queue: float = 0.0
    network: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.perf_counter() - self.started

    def add_image(self, decoding: float, queue: float, network: float) -> None:
        """An image that was predicted."""
        self.decoding = max(self.decoding, decoding)
        self.queue = max(self.queue, queue)
        self.network = max(self.network, network)

    def line(self) -> str:
        """As it stands in the log."""
        path = shown(self.path if len(self.path) <= LONGEST_PATH else f"{self.path[:LONGEST_PATH]}...")
        line = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {self.id} {self.method} {path} {self.status or 'gone'}"
        line = f"{line} {1000 * self.seconds:.1f} ms"
        if not self.images:
            return line
        parts = (("decoding", self.decoding), ("queue", self.queue), ("network", self.network))
        times = ", ".join(f"{name} {1000 * seconds:.1f}" for name, seconds in parts)
        return f"{line}, {self.model}, {self.images} image{'s' * (self.images > 1)} ({times})"

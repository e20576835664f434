"""How a server stops: what was accepted is finished, what comes later is refused, and the exit status is 0."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvicorn

from .problems import ProblemError

LINGER = 0.5  # seconds in which those who come late are still told why they are refused


@contextmanager
def signals_call(stop: Callable[..., None]) -> Iterator[None]:
    """SIGTERM and Ctrl-C call this, with the signal and the frame, as long as the context lasts."""
    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Gate:
    """Through which requests that take work go in, until the server is asked to stop."""

    def __init__(self) -> None:
        self.stopping = False
        self.working = 0

    @contextmanager
    def work(self) -> Iterator[None]:
        """Around a request until its answer is sent. Raises ProblemError, 503, once the server stops."""
        if self.stopping:
            raise ProblemError(503, "the server stops; ask another, or this one later", {"Retry-After": "5"})
        self.working += 1
        try:
            yield
        finally:
            self.working -= 1


class StoppingServer(uvicorn.Server):
    """Goes on listening after SIGTERM or Ctrl-C until all that was accepted has its answer; a second Ctrl-C ends it.

    Clients that take longer than `patience` seconds to send or to read are not waited for. `started_listening` is
    called once it does.
    """

    def __init__(
        self, config: uvicorn.Config, gate: Gate, patience: float, started_listening: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self.gate, self.patience, self.started_listening = gate, patience, started_listening
        self.asked = 0.0  # when it was asked to stop

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.started_listening()

    def ask_to_stop(self) -> None:
        """From any thread."""
        self.asked = self.asked or time.monotonic()
        self.gate.stopping = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """In place of uvicorn's, after which the process would die of the signal once more."""
        if self.gate.stopping and sig == signal.SIGINT:
            self.should_exit = self.force_exit = True
        self.ask_to_stop()

    async def on_tick(self, counter: int) -> bool:
        if await super().on_tick(counter):
            return True
        asked_for = time.monotonic() - self.asked if self.gate.stopping else 0.0
        return asked_for >= (self.patience if self.gate.working else LINGER)

"""What this process is at: what is said of it on other ranks when they have lost it or wait for it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class Activity:
    """Where a process is ("epoch 2, step 17") and what holds it up there ("waiting for data"), and since when.

    One thread writes, another may read.
    """

    def __init__(self) -> None:
        self._now = ("starting", "", time.monotonic())

    def at(self, position: str) -> None:
        """Tell where the process has come to."""
        self._now = (position, "", time.monotonic())

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Tell, inside a `with` block, what is waited for or done besides computing."""
        position, before, _ = self._now
        self._now = (position, what, time.monotonic())
        try:
            yield
        finally:
            self._now = (position, before, time.monotonic())

    def waiting_for_data(self, batches: Iterable[T]) -> Iterator[T]:
        """The same batches; the time until each comes is spent waiting for data."""
        iterator = iter(batches)
        while True:
            with self.doing("waiting for data"):
                try:
                    batch = next(iterator)
                except StopIteration:
                    return
            yield batch

    def read(self) -> tuple[str, str, float]:
        """The position, what is done there ("" for computing), and since when on `time.monotonic`'s clock."""
        return self._now


this_process = Activity()

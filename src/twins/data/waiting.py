"""Waiting for batches that worker processes load: those that die or hang are noticed, and none stays behind."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import TypeVar

from torch.utils.data import DataLoader

from ..errors import TwinsError

T = TypeVar("T")

POLL = 5.0  # seconds without a batch after which somebody looks whether the workers live


class WorkersDiedError(Exception):
    """A worker process has ended, and what it was to load does not come."""


class StalledError(TwinsError):
    """There are no more batches, through no fault of the run, which can be saved and resumed."""


def take(loader: DataLoader[T], batches: Iterator[T]) -> T | None:
    """The next of the loader's `batches`; None where there is none yet after its timeout.

    Raises WorkersDiedError, and whatever the data set raises.
    """
    try:
        return next(batches)
    except (RuntimeError, OSError, EOFError) as error:
        # A broken connection is noticed before the end of the worker that it led to.
        if _one_has_died(loader, within=0.0 if isinstance(error, RuntimeError) else 1.0):
            raise WorkersDiedError(str(error)) from error
        if str(error).startswith("DataLoader timed out"):  # it has no exception of its own for that
            return None
        raise


def patiently(loader: DataLoader[T], read_timeout: float, what: str) -> Iterator[T]:
    """All batches of a loader. Raises StalledError, naming `what` they are, if none comes for so many seconds."""
    batches, waited = iter(loader), 0.0
    while True:
        try:
            batch = take(loader, batches)
        except StopIteration:
            return
        except WorkersDiedError as error:
            raise StalledError(f"{what}: a worker process has died; out of memory? try fewer --workers") from error
        if batch is not None:
            waited = 0.0
            yield batch
            continue
        waited += loader.timeout
        if waited >= read_timeout:
            raise StalledError(f"{what}: none could be read for {waited:.0f} s; --read-timeout waits longer")


def end_workers(loader: DataLoader[T]) -> None:
    """End a loader's worker processes at once, whatever they are in the midst of; it may be iterated over again.

    They ignore signals, and PyTorch would wait for one that hangs in a read for ever.
    """
    workers, iterator = _workers(loader), loader._iterator
    loader._iterator = None
    if iterator is not None:
        with dead_workers_unnoticed():
            for worker in workers:
                worker.kill()
            iterator._shutdown_workers()  # type: ignore[attr-defined]


@contextmanager
def dead_workers_unnoticed() -> Iterator[None]:
    """Inside, no signal tells PyTorch of a worker that died, which then raises wherever the program happens to be.

    Whoever waits for a batch hears of it all the same.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGCHLD"):
        yield
        return
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)


def _one_has_died(loader: DataLoader[T], within: float) -> bool:
    """Whether a worker process has ended, or does within so many seconds."""
    workers, deadline = _workers(loader), time.monotonic() + within
    while all(worker.is_alive() for worker in workers):
        if not workers or time.monotonic() >= deadline:
            return False
        time.sleep(0.01)
    return True


def _workers(loader: DataLoader[T]) -> list[BaseProcess]:
    """PyTorch keeps the iterator of a loader whose workers are to last, and hides both."""
    return [*getattr(loader._iterator, "_workers", ())]

"""Ctrl-C, SIGTERM and SIGUSR1, which stop a run between two updates."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# What schedulers send before they take a machine away. Ctrl-C, from somebody who sees it, has no deadline.
PREEMPTIONS = (signal.SIGTERM, signal.SIGUSR1) if hasattr(signal, "SIGUSR1") else (signal.SIGTERM,)


class StoppedError(Exception):
    """A signal stopped a run between two updates, of which the last is complete."""


class Interruption:
    """Whether a run was asked to stop, and by which signal.

    A preempted run that has not left within `grace` seconds leaves without saving again. A process that is not `alone`
    leaves together with the others, which only an update can tell.
    """

    def __init__(self, grace: float, alone: bool) -> None:
        self.grace, self.alone = grace, alone
        self.signal: signal.Signals | None = None
        self.last_words: Callable[[], str] = lambda: ""  # of a run that leaves without saving
        self._waiting = False
        self._deadline: threading.Timer | None = None

    def is_set(self) -> bool:
        return self.signal is not None

    @property
    def status(self) -> int:
        """The exit status that shells have for the signal: 130 Ctrl-C, 143 SIGTERM, 138 SIGUSR1; 0 without one."""
        return 128 + self.signal if self.signal is not None else 0

    @contextmanager
    def while_waiting(self) -> Iterator[None]:
        """Inside, where nothing is computed and no more than a wait given up, a signal raises StoppedError."""
        self._waiting = self.alone
        try:
            if self._waiting and self.is_set():
                raise StoppedError
            yield
        finally:
            self._waiting = False

    def ask_to_stop(self, number: int, frame: object = None) -> None:
        """The signals' handler. A second Ctrl-C stops at once.

        torchrun reacts to Ctrl-C with a SIGTERM of its own, which must not count as the second.
        """
        if self.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = self.signal or signal.Signals(number)
        if number in PREEMPTIONS and self._deadline is None:
            self._deadline = threading.Timer(self.grace, self._leave)
            self._deadline.daemon = True
            self._deadline.start()
        if self._waiting:
            self._waiting = False
            raise StoppedError

    def done(self) -> None:
        """What had to be done before the deadline is done."""
        if self._deadline is not None:
            self._deadline.cancel()

    def _leave(self) -> None:
        """End the process, which is in the midst of something that takes too long."""
        if words := self.last_words():
            print(words, file=sys.stderr, flush=True)
        os._exit(self.status)


@contextmanager
def interruptible(grace: float, alone: bool) -> Iterator[Interruption]:
    """Ctrl-C, SIGTERM and SIGUSR1 ask to stop, so that the loop can do so between two updates.

    Outside of the main thread, which alone may handle signals, nothing does.
    """
    interruption = Interruption(grace, alone)
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    numbers = (signal.SIGINT, *PREEMPTIONS)
    before = {number: signal.signal(number, interruption.ask_to_stop) for number in numbers}
    try:
        yield interruption
    finally:
        interruption.done()
        for number, handler in before.items():
            signal.signal(number, handler)

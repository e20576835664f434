"""Each rank's sign of life in the job's store, so that the others can say which one is lost and where it was."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TypeVar

from .activity import Activity
from .attempt import Attempt, Member

T = TypeVar("T")
INTERVAL = 1.0  # seconds between two signs
ANSWER = 10.0  # seconds that the store may take to answer
NOTICED = "noticed"  # the end of a rank that others have left alone
_SAID = "said"


@dataclass(frozen=True)
class Sign:
    """What a rank last said of itself. Times are seconds since the ranks agreed, which no two clocks disagree about."""

    position: str = "starting"
    doing: str = ""
    since: float = 0.0
    time: float = 0.0
    end: str | None = None  # why it has left, or NOTICED; None: it has not

    @property
    def where(self) -> str:
        """ "waiting for data in epoch 2, step 17"."""
        place = f"in {self.position}" if self.position != "starting" else self.position
        return f"{self.doing} {place}" if self.doing else place


class StoreLostError(Exception):
    """The job's store does not answer."""


class SignsOfLife:
    """A thread that gives this rank's sign every second over a connection of its own, and reads those of all.

    A rank that hangs while the others have stopped, or while the store is gone, is ended by it after `timeout`, since
    nobody else may be there to do it.
    """

    def __init__(self, attempt: Attempt, activity: Activity, timeout: timedelta) -> None:
        self.attempt, self.activity, self.timeout = attempt, activity, timeout.total_seconds()
        self._store = attempt.store.clone()
        self._store.set_timeout(timedelta(seconds=ANSWER))
        self.others_lost = False
        self._ended = threading.Event()
        self._giving = threading.Lock()  # so that the last sign stays the last
        self._give()
        threading.Thread(target=self._keep_giving, name="signs of life", daemon=True).start()

    @property
    def members(self) -> tuple[Member, ...]:
        return self.attempt.members

    def elapsed(self) -> float:
        """Seconds since all ranks agreed."""
        return time.monotonic() - self.attempt.agreed

    def end(self, why: str) -> None:
        """Give a last sign; NOTICED says that others are lost. Raises StoreLostError."""
        self.others_lost = why == NOTICED
        self._ended.set()
        self._answered(lambda: self._give(why))

    def read(self) -> list[Sign]:
        """The last sign of every rank. Raises StoreLostError."""
        return self._answered(lambda: [self._of(rank) for rank in range(len(self.members))])

    def first_to_tell(self) -> bool:
        """Whether no rank has said before that others are lost; True for one rank alone. Raises StoreLostError."""
        return self._answered(lambda: self._store.add(_SAID, 1)) == 1

    def _of(self, rank: int) -> Sign:
        key = f"sign of {rank}"
        return Sign(**json.loads(self._store.get(key))) if self._store.check([key]) else Sign()

    def _give(self, end: str | None = None) -> None:
        position, doing, since = self.activity.read()
        sign = Sign(position, doing, max(since - self.attempt.agreed, 0.0), self.elapsed(), end)
        with self._giving:
            if end is not None or not self._ended.is_set():
                self._store.set(f"sign of {self.attempt.rank}", json.dumps(asdict(sign)))

    def _keep_giving(self) -> None:
        over = False
        while not self._ended.wait(INTERVAL):
            try:
                if not over:
                    self._give()
                    over = self._store.check([_SAID])
            except RuntimeError:  # the store is gone
                over = True
            if over and time.monotonic() - self.activity.read()[2] > self.timeout:
                print(f"twins: rank {self.attempt.rank} hangs, and the other ranks have stopped", file=sys.stderr)
                sys.stderr.flush()
                os._exit(1)

    def _answered(self, ask: Callable[[], T]) -> T:
        """What the store answers within ANSWER seconds, asked in a thread: a dead link keeps a call for ever."""
        answers: list[T] = []  # one, or none

        def work() -> None:
            try:
                answers.append(ask())
            except RuntimeError:
                return

        asking = threading.Thread(target=work, daemon=True)
        asking.start()
        asking.join(ANSWER)
        if not answers:
            raise StoreLostError
        return answers[0]

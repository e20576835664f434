"""Blocks of all candidates by turns in one process, so that a busy moment of the machine falls on all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from .progress import Progress

_PAUSE = 0.05  # seconds in which the threads of the candidate before stop looking for work


class Pace(NamedTuple):
    """How long to measure."""

    blocks: int = 5
    seconds: float = 1.0  # least length of a block
    limit: float = 180.0  # seconds, after which no further round of blocks begins


def alternate(
    calls: Mapping[str, Callable[[], object]],
    pace: Pace,
    times: dict[str, list[float]],
    after_round: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> None:
    """Time every call by turns; `times` gains seconds a call, one value a block, and keeps them if this is stopped.

    The first round warms up and does not count; at least one more is measured, whatever the limit.
    """
    started = clock()
    progress = Progress("measuring", (pace.blocks + 1) * len(calls))
    for round_, name in progress.over(_turns(calls, pace, clock, started)):
        progress.note = name
        seconds = time_block(calls[name], pace.seconds, clock)
        if round_ > 0:
            times.setdefault(name, []).append(seconds)
        if name == list(calls)[-1]:
            after_round()


def _turns(
    calls: Mapping[str, Callable[[], object]], pace: Pace, clock: Callable[[], float], started: float
) -> Iterator[tuple[int, str]]:
    for round_ in range(pace.blocks + 1):
        if round_ > 1 and clock() - started > pace.limit:
            return
        for name in calls:
            yield round_, name


def time_block(call: Callable[[], object], seconds: float, clock: Callable[[], float]) -> float:
    """Mean seconds a call, over as many calls as fill the block."""
    time.sleep(_PAUSE)
    started, count = clock(), 0
    while count == 0 or clock() - started < seconds:
        call()
        count += 1
    return (clock() - started) / count

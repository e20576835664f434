"""Blocks of all contenders by turns in one process, so that a busy moment of the machine falls on all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ..native import matmul_speed
from ..native.library import missing as no_engine
from ..ops.precision import IN_HARDWARE
from ..progress import Progress
from .machine import instruction_sets

_TORCH_PRODUCTS: dict[str, tuple[torch.dtype, Callable[[Tensor, Tensor], Tensor]]] = {
    "fp32": (torch.float32, torch.mm),
    "bf16": (torch.bfloat16, torch.mm),
    "int8": (torch.int8, torch._int_mm),  # sums in int32
}
_SIDES = (1024, 2048)  # of PyTorch's matrices; matrix units reach twice as much with the larger
_PAUSE = 0.05  # seconds in which the threads of the one before stop looking for work


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
    """Time every call by turns; `times` gains seconds a call, one figure a block, and keeps them if this is stopped.

    The first round warms up and does not count; at least one more is measured, whatever the limit.
    """
    started = clock()
    progress = Progress("measuring", (pace.blocks + 1) * len(calls))
    for round_, name in progress.over(_turns(calls, pace, clock, started)):
        progress.note = name
        seconds = _time_block(calls[name], pace.seconds, clock)
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


def _time_block(call: Callable[[], object], seconds: float, clock: Callable[[], float]) -> float:
    """Mean seconds a call, over as many calls as fill the block."""
    time.sleep(_PAUSE)
    started, count = clock(), 0
    while count == 0 or clock() - started < seconds:
        call()
        count += 1
    return (clock() - started) / count


class Roofline:
    """What matrix products reach between the blocks of a run, in GFLOP/s (a multiply-add is two) for each precision.

    The median, as of the contenders: a machine that others use too lends less to both.
    """

    def __init__(self, dtypes: set[str], seconds: float = 0.25) -> None:
        self._speeds: dict[str, list[float]] = {dtype: [] for dtype in sorted(dtypes)}
        self._seconds = seconds

    def measure(self) -> None:
        """Once more; the best product that this machine is known to have."""
        for dtype, speeds in self._speeds.items():
            speeds.append(max(speed(dtype, self._seconds) for speed in (_engine_speed, _torch_speed)))

    def gflops(self, dtype: str) -> float:
        """The median so far; 0 for a precision that nobody's products were timed in."""
        return statistics.median(self._speeds.get(dtype) or [0.0])


def _engine_speed(dtype: str, seconds: float) -> float:
    """The engine's product of packed matrices, in GFLOP/s; 0 without an engine."""
    return 0.0 if no_engine() else matmul_speed(dtype, torch.get_num_threads(), seconds)


def _torch_speed(dtype: str, seconds: float) -> float:
    """PyTorch's product of square matrices, in GFLOP/s; 0 where it would multiply in plain loops."""
    type_, multiply = _TORCH_PRODUCTS[dtype]
    if not {"bf16": IN_HARDWARE[torch.bfloat16], "int8": "avx512_vnni" in instruction_sets()}.get(dtype, True):
        return 0.0
    return max(_square_speed(multiply, torch.ones(side, side, dtype=type_), seconds / len(_SIDES)) for side in _SIDES)


def _square_speed(multiply: Callable[[Tensor, Tensor], Tensor], a: Tensor, seconds: float) -> float:
    multiply(a, a)
    return 2e-9 * len(a) ** 3 / _time_block(lambda: multiply(a, a), seconds, time.perf_counter)

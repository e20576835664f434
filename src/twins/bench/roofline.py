"""The roofline: what matrix products reach on this machine, timed between the blocks of a run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from ..native import matmul_speed
from ..native.library import missing as no_engine
from ..ops.precision import IN_HARDWARE
from ..timing import time_block
from .machine import instruction_sets

_TORCH_PRODUCTS: dict[str, tuple[torch.dtype, Callable[[Tensor, Tensor], Tensor]]] = {
    "fp32": (torch.float32, torch.mm),
    "bf16": (torch.bfloat16, torch.mm),
    "int8": (torch.int8, torch._int_mm),  # sums in int32
}
_SIDES = (1024, 2048)  # of PyTorch's matrices; matrix units reach twice as much with the larger


class Roofline:
    """GFLOP/s of matrix products (a multiply-add is two) for each precision.

    The median, as for the backends: other work on the machine slows both.
    """

    def __init__(self, dtypes: set[str], seconds: float = 0.25) -> None:
        self._speeds: dict[str, list[float]] = {dtype: [] for dtype in sorted(dtypes)}
        self._seconds = seconds

    def measure(self) -> None:
        """Once more; the best product that this machine is known to have."""
        for dtype, speeds in self._speeds.items():
            speeds.append(max(speed(dtype, self._seconds) for speed in (_engine_speed, _torch_speed)))

    def gflops(self, dtype: str) -> float:
        """The median so far; 0 for a precision whose products were not timed."""
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
    return 2e-9 * len(a) ** 3 / time_block(lambda: multiply(a, a), seconds, time.perf_counter)

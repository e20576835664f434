"""How fast products of matrices are on this CPU: the upper bound of every network that is made of them."""

from __future__ import annotations

from functools import cache

import torch

from ..errors import TwinsError
from . import library
from .packing import DTYPES, ROWS_OF_STEP, to_panels

REGISTERS = " in registers"  # after the name of an instruction set: what its tiles reach without loads
_INPUTS, _OUTPUTS = 256, 512  # of the packed matrix
_WEIGHTS = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.int8}


def matmul_speed(dtype: str, threads: int, seconds: float = 0.5) -> float:
    """The fastest product that any instruction set of this CPU reaches, in GFLOP/s (a multiply-add is two).

    Parameters
    ----------
    dtype:
        "fp32", "bf16" or "int8".
    threads:
        How many compute, each a product of its own; the result is of all together.
    seconds:
        For about how long, once the fastest instruction set is known, which takes a moment at a dtype's first call.

    Products of what tile registers hold, without loads, count as well. TWINS_ISA has no say in it.

    Raises TwinsError for an unknown dtype or where there is no engine.
    """
    if dtype not in DTYPES:
        raise TwinsError(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}")
    if reason := library.missing():
        raise TwinsError(reason)
    return _speed(_fastest(dtype), dtype, threads, seconds)


def matmul_speeds(dtype: str, threads: int, seconds: float = 0.02) -> dict[str, float]:
    """The same for each instruction set that computes in a dtype itself, by name, in GFLOP/s.

    Tile registers stand there twice: "amx", and "amx in registers" for products without loads. Raises ValueError for an
    unknown dtype, and OSError where there is no engine.
    """
    names = [name for name in library.instruction_sets() if library.computes(name, dtype) and "emulated" not in name]
    names += [name + REGISTERS for name in names if library.time_peak(name, dtype, 1, repeats=1)[0] > 0]
    return {name: _speed(name, dtype, threads, seconds) for name in names}


@cache
def _fastest(dtype: str) -> str:
    speeds = matmul_speeds(dtype, threads=1)
    return max(speeds, key=lambda name: speeds[name])


def _speed(name: str, dtype: str, threads: int, seconds: float) -> float:
    weight = torch.ones(_OUTPUTS, _INPUTS, dtype=_WEIGHTS[dtype])
    panels, columns = to_panels(weight, ROWS_OF_STEP[dtype]), torch.zeros(_OUTPUTS)
    flops = spent = 0.0
    while spent < seconds:
        if name.endswith(REGISTERS):
            done, took = library.time_peak(name.removesuffix(REGISTERS), dtype, threads)
        else:
            done, took = library.time_product(name, dtype, panels, columns, _INPUTS, threads)
        flops, spent = flops + done, spent + took
    return flops / spent / 1e9

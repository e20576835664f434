"""The engine's shared library, as Python functions over tensors. Loaded at the first use."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from ..errors import TwinsError, nearest
from .packing import DTYPES, ROWS_OF_STEP, to_panels

PATH = Path(__file__).with_name("_engine.so")
ISA_VARIABLE = "TWINS_ISA"
PRODUCT_ROWS = 98  # of the product that `matmul_speed` times
ERROR_SIZE = 256


@cache
def missing() -> str | None:
    """Why the engine cannot be used here, or None where it can."""
    if not PATH.exists():
        return "the CPU engine was not built, for want of a C++ compiler; once there is g++ or clang++, install again"
    try:
        _library()
    except OSError as error:
        return f"the CPU engine cannot be loaded ({error})"
    return None


@cache
def instruction_sets() -> tuple[str, ...]:
    """What this processor can run, slowest first: "portable", "avx2", "avx512", "avx512_vnni", "avx512_bf16"."""
    names: bytes = _library().twins_instruction_sets()
    return tuple(names.decode().split())


def instruction_set() -> str:
    """The quickest of them, or the one that the environment variable TWINS_ISA names.

    Raises TwinsError for a name that this processor cannot run.
    """
    wanted = os.environ.get(ISA_VARIABLE)
    if not wanted:
        return instruction_sets()[-1]
    if wanted not in instruction_sets():
        known = instruction_sets()
        hint = nearest(wanted, known)
        raise TwinsError(f"{ISA_VARIABLE}={wanted}: this processor does not run that{hint}; it runs {', '.join(known)}")
    return wanted


def forward(images: Tensor, packed: Tensor, answers: Sequence[Tensor], threads: int) -> None:
    """Compute the packed network over (B, in_chans, H, W) contiguous floats into `answers`, whose memory is theirs.

    Raises RuntimeError for packed weights that are none of this version, or do not fit pictures and answers.
    """
    pointers = (ctypes.c_void_p * len(answers))(*(answer.data_ptr() for answer in answers))
    sizes = (ctypes.c_int64 * len(answers))(*(answer[0].numel() for answer in answers))
    _call(
        "twins_forward",
        ctypes.c_void_p(packed.data_ptr()),
        ctypes.c_int64(packed.numel()),
        instruction_set().encode(),
        threads,
        ctypes.c_void_p(images.data_ptr()),
        *images.shape,
        *(pointers, sizes, len(answers)),
    )


def matmul_speed(dtype: str, threads: int, seconds: float = 0.5, inputs: int = 256, outputs: int = 512) -> float:
    """The engine's product of 98 rows with a packed matrix, in GFLOP/s over all threads (two a multiply-add).

    Nothing that is made of such products can be quicker: the roof over the networks. Raises TwinsError for an unknown
    dtype or where there is no engine.
    """
    if dtype not in DTYPES:
        raise TwinsError(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}")
    if reason := missing():
        raise TwinsError(reason)
    types = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.int8}
    weight = to_panels(torch.ones(outputs, inputs, dtype=types[dtype]), ROWS_OF_STEP[dtype])
    columns = torch.zeros(outputs)
    flops = 2.0 * PRODUCT_ROWS * inputs * outputs * threads
    spent, calls, repeats = 0.0, 0, 20
    while spent < seconds:
        took = ctypes.c_double()
        _call(
            "twins_time_product",
            instruction_set().encode(),
            DTYPES.index(dtype),
            ctypes.c_void_p(weight.data_ptr()),
            ctypes.c_void_p(columns.data_ptr()),
            *(inputs, outputs, repeats, threads),
            ctypes.byref(took),
        )
        spent, calls = spent + took.value, calls + 1
    return flops * repeats * calls / spent / 1e9


def _call(function: str, *arguments: object) -> None:
    error = ctypes.create_string_buffer(ERROR_SIZE)
    if getattr(_library(), function)(*arguments, error, ERROR_SIZE) != 0:
        raise RuntimeError(f"the CPU engine: {error.value.decode()}")


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(PATH))
    library.twins_instruction_sets.restype = ctypes.c_char_p
    return library

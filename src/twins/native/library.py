"""The engine's shared library, as Python functions over tensors. Loaded at the first use."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from torch import Tensor

from ..errors import TwinsError, nearest
from .packing import DTYPES

PATH = Path(__file__).with_name("_engine.so")
ISA_VARIABLE = "TWINS_ISA"
CPUINFO = Path("/proc/cpuinfo")
ERROR_SIZE = 256
NAME_SIZE = 64


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
    """What this CPU can run, slowest first: "amx_emulated", "portable", "avx2", "avx512", "avx512_vnni" ... "amx".

    Raises OSError where the engine was not built or does not load, which `twins.freeze` works without.
    """
    names: bytes = _library().twins_instruction_sets()
    return tuple(names.decode().split())


@cache
def refused() -> str | None:
    """Why AMX is left alone although this CPU has it, or None: where it is used, and where there is none."""
    flags = set(CPUINFO.read_text(encoding="utf-8").split()) if CPUINFO.exists() else set()
    if "amx" in instruction_sets() or not {"amx_tile", "amx_bf16", "amx_int8"} <= flags:
        return None
    return (
        "the system does not let this process use AMX, which the CPU has (arch_prctl refuses it where a thread has a "
        "small stack for signals: freeze a network before it is set up)"
    )


def instruction_set(dtype: str) -> str:
    """What computes in "fp32", "bf16" or "int8": the fastest, or the one that the environment variable TWINS_ISA names.

    Where that one adds nothing for the dtype it is the one that it extends: "avx512" for "fp32" if "amx" is asked for.
    Raises TwinsError for a name that this CPU cannot run, ValueError for another dtype, and OSError without the engine.
    """
    return _resolved(_wanted(), dtype)


def computes(name: str, dtype: str) -> bool:
    """Whether an instruction set has functions of its own for a dtype, and does not leave it to the one it extends."""
    return _resolved(name, dtype) == name


def _resolved(wanted: str, dtype: str) -> str:
    name = ctypes.create_string_buffer(NAME_SIZE)
    _call("twins_instruction_set", wanted.encode(), DTYPES.index(dtype), name, NAME_SIZE)
    return name.value.decode()


def _wanted() -> str:
    """The instruction set that the environment asks for; nothing where it leaves the choice."""
    wanted = os.environ.get(ISA_VARIABLE, "")
    if wanted and wanted not in instruction_sets():
        known = instruction_sets()
        hint = nearest(wanted, known)
        raise TwinsError(f"{ISA_VARIABLE}={wanted}: this CPU does not run that{hint}; it runs {', '.join(known)}")
    return wanted


def most_tokens_of_window() -> int:
    """Windows of more tokens (7 x 7 has 49) the engine does not take."""
    return int(_library().twins_most_tokens_of_window())


def forward(images: Tensor, packed: Tensor, outputs: Sequence[Tensor], threads: int) -> None:
    """Compute the packed network over (B, in_chans, H, W) contiguous floats into `outputs`, whose memory is theirs.

    Raises RuntimeError for packed weights that are none of this version, or do not fit images and outputs.
    """
    pointers = (ctypes.c_void_p * len(outputs))(*(output.data_ptr() for output in outputs))
    sizes = (ctypes.c_int64 * len(outputs))(*(output[0].numel() for output in outputs))
    _call(
        "twins_forward",
        ctypes.c_void_p(packed.data_ptr()),
        ctypes.c_int64(packed.numel()),
        _wanted().encode(),
        threads,
        ctypes.c_void_p(images.data_ptr()),
        *images.shape,
        *(pointers, sizes, len(outputs)),
    )


def time_product(
    name: str, dtype: str, panels: Tensor, columns: Tensor, inputs: int, threads: int
) -> tuple[float, float]:
    """Time products of rows with a matrix packed by `to_panels`, by an instruction set: FLOPs and seconds."""
    rows, seconds, outputs, repeats = ctypes.c_int(), ctypes.c_double(), columns.numel(), 20
    _call(
        "twins_time_product",
        name.encode(),
        DTYPES.index(dtype),
        *(ctypes.c_void_p(panels.data_ptr()), ctypes.c_void_p(columns.data_ptr())),
        *(inputs, outputs, repeats, threads),
        *(ctypes.byref(rows), ctypes.byref(seconds)),
    )
    return 2.0 * rows.value * inputs * outputs * repeats * threads, seconds.value


def time_peak(name: str, dtype: str, threads: int, repeats: int = 20_000) -> tuple[float, float]:
    """The same of products in tile registers alone; no FLOPs where an instruction set has none."""
    multiply_adds, seconds = ctypes.c_int64(), ctypes.c_double()
    numbers = (DTYPES.index(dtype), repeats, threads)
    _call("twins_time_peak", name.encode(), *numbers, ctypes.byref(multiply_adds), ctypes.byref(seconds))
    return 2.0 * multiply_adds.value, seconds.value


def _call(function: str, *arguments: object) -> None:
    error = ctypes.create_string_buffer(ERROR_SIZE)
    if getattr(_library(), function)(*arguments, error, ERROR_SIZE) != 0:
        raise RuntimeError(f"the CPU engine: {error.value.decode()}")


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(PATH))
    library.twins_instruction_sets.restype = ctypes.c_char_p
    return library

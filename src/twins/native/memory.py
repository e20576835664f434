"""Letting go of a module's weights, for good: to the operating system, not only to whoever allocates next."""

from __future__ import annotations

import ctypes

from torch import nn

_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)


def release(module: nn.Module) -> None:
    """Replace every parameter by an empty one. Memory that others still refer to stays."""
    for parameter in module.parameters():
        parameter.data = parameter.new_empty(0)
    give_back()


def give_back() -> None:
    """Freed memory returns to the system: glibc keeps blocks below 32 MB until it is told; others have no such call."""
    if _trim is not None:
        _trim(ctypes.c_size_t(0))

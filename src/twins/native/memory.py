"""Letting go of a module's weights, for good: to the operating system, not only to whoever allocates next."""

from __future__ import annotations

import ctypes

from torch import nn

# glibc keeps freed memory below 32 MB until it is told to give it back; other libraries have no such call.
_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)


def release(module: nn.Module) -> None:
    """Replace every parameter by an empty one. Memory that others still refer to stays."""
    for parameter in module.parameters():
        parameter.data = parameter.new_empty(0)
    if _trim is not None:
        _trim(ctypes.c_size_t(0))

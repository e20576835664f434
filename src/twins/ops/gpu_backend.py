"""The backend for maps on a GPU: the kernels where they run, else plain PyTorch. Decided, and logged, when imported."""

from __future__ import annotations

import logging
import os
from importlib.util import find_spec
from types import ModuleType

import torch

from . import eager

_CAPABILITY = (8, 0)  # Ampere: bfloat16, and enough shared memory for the tiles


def why_no_kernels() -> str | None:
    """What keeps the kernels from running here, in a line; None if nothing does."""
    if find_spec("triton") is None:
        return "Triton is not installed"
    if os.environ.get("TRITON_INTERPRET") == "1":
        return None
    if not torch.cuda.is_available():
        return "there is no CUDA device"
    found = torch.cuda.get_device_capability()
    if torch.version.hip is None and found < _CAPABILITY:
        return f"the GPU has compute capability {found[0]}.{found[1]}, and they need {_CAPABILITY[0]}.{_CAPABILITY[1]}"
    return None


def _decide() -> ModuleType:
    log = logging.getLogger(__package__)
    reason = why_no_kernels() or _failure()
    if reason is not None:
        log.warning("sublayers run in plain PyTorch, not as Triton kernels: %s", reason)
        return eager
    from . import triton

    log.info("sublayers on a GPU run as: %s", triton.describe())
    return triton


def _failure() -> str | None:
    """What the self-test finds; interpreted kernels go without it, since they are what the tests ask for."""
    if os.environ.get("TRITON_INTERPRET") == "1":
        return None
    from .triton.self_test import failure

    return failure()


chosen = _decide()

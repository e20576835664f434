"""What lower precision a CPU computes in hardware; where it does not, autocast is answered in float32."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn


def _in_hardware(probe: str) -> bool:
    """As PyTorch's matrix library answers; a build without that library multiplies small types in plain loops."""
    return hasattr(torch.ops.mkldnn, probe) and bool(getattr(torch.ops.mkldnn, probe)())


IN_HARDWARE = {
    torch.bfloat16: _in_hardware("_is_mkldnn_bf16_supported"),
    torch.float16: _in_hardware("_is_mkldnn_fp16_supported"),
}


def without_emulation(sublayer: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Leave autocast aside on a CPU that has no instructions for its type: float32 is nearer and far quicker.

    There PyTorch multiplies bfloat16 in plain loops on one core: a step of training takes minutes.
    """

    @wraps(sublayer)
    def answer(x_BHWC: Tensor, *parts: Any, **settings: Any) -> Tensor:
        if not _emulates(x_BHWC):
            return sublayer(x_BHWC, *parts, **settings)
        with torch.autocast("cpu", enabled=False):
            return sublayer(x_BHWC.to(_dtype_of(parts, x_BHWC)), *parts, **settings)

    return answer


def _emulates(x: Tensor) -> bool:
    """Whether autocast is on, for a type that this CPU lacks."""
    return (
        x.device.type == "cpu"
        and torch.is_autocast_enabled("cpu")
        and not IN_HARDWARE.get(torch.get_autocast_dtype("cpu"), True)
    )


def _dtype_of(parts: tuple[Any, ...], x: Tensor) -> torch.dtype:
    """The weights' type, in which an input must come once autocast no longer sees to it."""
    weights = (weight for part in parts if isinstance(part, nn.Module) for weight in part.parameters())
    return next((weight.dtype for weight in weights), x.dtype)

"""What lower precision a CPU computes in hardware; where it does not, autocast is left aside for float32."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

Sublayer = TypeVar("Sublayer", bound=Callable[..., Tensor])


def _in_hardware(probe: str) -> bool:
    """As PyTorch's matrix library says; a build without that library multiplies small dtypes in plain loops."""
    return hasattr(torch.ops.mkldnn, probe) and bool(getattr(torch.ops.mkldnn, probe)())


IN_HARDWARE = {
    torch.bfloat16: _in_hardware("_is_mkldnn_bf16_supported"),
    torch.float16: _in_hardware("_is_mkldnn_fp16_supported"),
}


def without_emulation(sublayer: Sublayer) -> Sublayer:
    """Leave autocast aside on a CPU that has no instructions for its dtype: float32 is more exact and far faster.

    There PyTorch multiplies bfloat16 in plain loops on one core: a step of training takes minutes.
    """

    @wraps(sublayer)
    def run(x_BHWC: Tensor, *parts: Any, **settings: Any) -> Tensor:
        if not _emulates(x_BHWC):
            return sublayer(x_BHWC, *parts, **settings)
        with torch.autocast("cpu", enabled=False):
            return sublayer(x_BHWC.to(_dtype_of(parts, x_BHWC)), *parts, **settings)

    return cast(Sublayer, run)


def _emulates(x: Tensor) -> bool:
    """Whether autocast is on, to a dtype that this CPU lacks. Mostly it is off, which is asked first."""
    return (
        torch.is_autocast_enabled("cpu")
        and x.device.type == "cpu"
        and not IN_HARDWARE.get(torch.get_autocast_dtype("cpu"), True)
    )


def _dtype_of(parts: tuple[Any, ...], x: Tensor) -> torch.dtype:
    """The weights' dtype, to which the input is cast, since autocast no longer does it."""
    weights = (weight for part in parts if isinstance(part, nn.Module) for weight in part.parameters())
    return next((weight.dtype for weight in weights), x.dtype)

"""How kernels are launched: as nodes that the compiler keeps, on the tensors' device, at the precision asked for."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import triton
from torch import Tensor
from torch.library import wrap_triton

LOG2_E = 1.4426950408889634  # exp(x) = exp2(x * LOG2_E), and exp2 is what the hardware has
INTERPRETED = bool(triton.knobs.runtime.interpret)  # TRITON_INTERPRET=1: step by step, on the CPU


def launchable(kernel: Any) -> Any:
    """A compiled kernel as a node for tracing; an interpreted one as it is, as older releases refuse to wrap those."""
    return kernel if INTERPRETED else wrap_triton(kernel)


def contiguous(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Kernels index memory without strides, vectors too."""
    return tuple(tensor.contiguous() for tensor in tensors)


def on_device_of(x: Tensor) -> AbstractContextManager[Any]:
    """Triton launches kernels on the current device, which need not be the tensor's."""
    return torch.cuda.device(x.device) if x.is_cuda and torch.cuda.is_initialized() else nullcontext()


@torch.compiler.assume_constant_result
def float32_products() -> str:
    """What products of float32 are computed in: the same as PyTorch's own (`torch.set_float32_matmul_precision`)."""
    return "ieee" if torch.get_float32_matmul_precision() == "highest" else "tf32"

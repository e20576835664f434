"""The seam between the network and whatever computes it: five sublayers, one signature each.

Every function takes a channels-last map `x_BHWC` (batch, height, width, channels) and the modules that hold the
sublayer's parameters, so that a kernel may fuse the whole of it. Residual additions and drop-path stay with the
caller. Three forms exist: `reference` says what is computed, `eager` computes the same quicker, and `triton` quicker
still on a GPU. The environment variable `TWINS_OPS` (`auto`, `eager`, `reference` or `triton`) or `use()` chooses one;
`auto` is `triton` for maps on a GPU and `eager` elsewhere. The choice is logged once, when it is made.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import torch
from torch import Tensor, nn

from . import eager, reference
from .geometry import WINDOW_PADDINGS

__all__ = [
    "WINDOW_PADDINGS",
    "backend",
    "mlp",
    "patch_embed",
    "peg",
    "subsampled_attention",
    "use",
    "window_attention",
]

_NAMES = ("auto", "eager", "reference", "triton")


def _choose(name: str) -> ModuleType | None:
    """A form by its name; None where each map's device decides."""
    if name not in _NAMES:
        raise ValueError(f"sublayers (TWINS_OPS) run as one of {', '.join(_NAMES)}, not as {name!r}")
    if name == "auto":
        return None
    form = _kernels() if name == "triton" else {"eager": eager, "reference": reference}[name]
    logging.getLogger(__name__).info("sublayers run as: %s", form.describe())
    return form


def _kernels() -> ModuleType:
    """Imported when first needed: Triton is heavy, and looking for a GPU would start CUDA."""
    from .gpu_backend import form

    return form


def _form_for(x: Tensor) -> ModuleType:
    if _form is not None:
        return _form
    return _kernels() if x.is_cuda else eager


_form = _choose(os.environ.get("TWINS_OPS", "auto"))


def backend(device: str | None = None, dtype: torch.dtype | None = None) -> str:
    """Which form computes the sublayers, in words; of maps on a `device` (cpu or cuda), where one is named.

    `dtype` is what autocast computes in, on which the attention of a training step depends.
    """
    if _form is None and device is None:
        return f"{eager.describe()}; kernels for maps on a GPU"
    form = _form or (_kernels() if device == "cuda" else eager)
    return eager.describe(device, dtype) if form is eager else str(form.describe())


@contextmanager
def use(name: str) -> Iterator[None]:
    """Compute with the named form inside a `with` block. Raises ValueError for an unknown name."""
    global _form
    before, _form = _form, _choose(name)
    try:
        yield
    finally:
        _form = before


def patch_embed(x_BHWC: Tensor, proj: nn.Conv2d, norm: nn.Module) -> Tensor:
    """norm(proj(x)) for a convolution whose kernel equals its stride k: (B, H, W, C) -> (B, H // k, W // k, C')."""
    return _form_for(x_BHWC).patch_embed(x_BHWC, proj, norm)


def peg(x_BHWC: Tensor, conv: nn.Conv2d) -> Tensor:
    """Positional encoding generator: x + a 3x3 depthwise convolution of x, zeros around the map (paper, 3.1)."""
    return _form_for(x_BHWC).peg(x_BHWC, conv)


def window_attention(
    x_BHWC: Tensor,
    norm: nn.Module,
    qkv: nn.Module,
    proj: nn.Module,
    heads: int,
    window: int,
    padding: str,
    dropout: float = 0.0,
) -> Tensor:
    """Locally-grouped self-attention (paper, 3.2): proj(attention(qkv(norm(x)))) inside windows, same shape as x.

    `padding` says what fills the last windows of a map that `window` does not divide: one of WINDOW_PADDINGS.
    """
    return _form_for(x_BHWC).window_attention(x_BHWC, norm, qkv, proj, heads, window, padding, dropout)


def subsampled_attention(
    x_BHWC: Tensor,
    norm: nn.Module,
    q: nn.Module,
    kv: nn.Module,
    proj: nn.Module,
    heads: int,
    sr: nn.Conv2d | None,
    sr_norm: nn.Module | None,
    dropout: float = 0.0,
) -> Tensor:
    """Global sub-sampled attention (paper, 3.2), same shape as x.

    Queries come from every token of norm(x), keys and values from sr_norm(sr(norm(x))), a map shrunk by a strided
    convolution, or from norm(x) itself where `sr` is None.
    """
    return _form_for(x_BHWC).subsampled_attention(x_BHWC, norm, q, kv, proj, heads, sr, sr_norm, dropout)


def mlp(x_BHWC: Tensor, norm: nn.Module, fc1: nn.Module, fc2: nn.Module, dropout: float = 0.0) -> Tensor:
    """fc2(gelu(fc1(norm(x)))), same shape as x, with the exact GELU."""
    return _form_for(x_BHWC).mlp(x_BHWC, norm, fc1, fc2, dropout)

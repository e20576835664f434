"""A whole MLP in one kernel, its norm included, where a token's channels fit one tile: hidden units never reach memory.

A program takes a block of tokens and goes through the hidden units by chunks. In the backward pass it computes the norm
and the hidden units again, so that only the input is saved; what the weights' gradients need is written out, and the
library multiplies it, which it does best.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.library import triton_op

from .activation import gelu, gelu_and_slope
from .launch import contiguous, float32_products, launchable, on_device_of
from .linear_gradients import bias_gradient, weight_gradient
from .norm_kernels import load_tokens, norm_backward, norm_forward, store_tokens
from .tiles import mlp_backward_tile, mlp_tile, power_of_two

__all__ = ["fits", "fused_mlp"]

_MAX_WIDTH = 128  # of a tile of tokens beside its accumulator and two chunks of weights
_CHUNK = 64  # the number of hidden units is a multiple of this


def fits(width: int, hidden: int) -> bool:
    """Whether one kernel does an MLP of so many channels and hidden units."""
    return width <= _MAX_WIDTH and hidden % _CHUNK == 0


@triton.jit
def _load_units(w1_ptr, w2_ptr, unit, channel, C, HIDDEN: tl.constexpr):
    """The weights into and out of a chunk of hidden units: (C, units) and (units, C)."""
    used = channel < C
    w1 = tl.load(w1_ptr + unit[None, :] * C + channel[:, None], mask=used[:, None], other=0.0)
    w2 = tl.load(w2_ptr + channel[None, :] * HIDDEN + unit[:, None], mask=used[None, :], other=0.0)
    return w1, w2


@triton.jit
def _forward(
    x_ptr, norm_weight_ptr, norm_bias_ptr, w1_ptr, b1_ptr, w2_ptr, b2_ptr, y_ptr, N, C, eps,
    WIDTH: tl.constexpr, HIDDEN: tl.constexpr, ROWS: tl.constexpr, UNITS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    channel = tl.arange(0, WIDTH)
    used = channel < C
    x = load_tokens(x_ptr, row, channel, N, C)
    normed, _, _, _ = norm_forward(x, norm_weight_ptr, norm_bias_ptr, channel, C, eps)
    normed = normed.to(w1_ptr.dtype.element_ty)
    y = tl.zeros([ROWS, WIDTH], tl.float32)
    for first in range(0, HIDDEN, UNITS):
        unit = first + tl.arange(0, UNITS)
        w1, w2 = _load_units(w1_ptr, w2_ptr, unit, channel, C, HIDDEN)
        h = tl.dot(normed, w1, input_precision=PRECISION) + tl.load(b1_ptr + unit).to(tl.float32)[None, :]
        y += tl.dot(gelu(h).to(w2.dtype), w2, input_precision=PRECISION)
    y += tl.load(b2_ptr + channel, mask=used, other=0.0).to(tl.float32)[None, :]
    store_tokens(y_ptr, y, row, channel, N, C)


@triton.jit
def _backward(
    dy_ptr, x_ptr, norm_weight_ptr, norm_bias_ptr, w1_ptr, b1_ptr, w2_ptr,
    dx_ptr, normed_ptr, g_ptr, dh_ptr, dnorm_ptr, N, C, eps,
    WIDTH: tl.constexpr, HIDDEN: tl.constexpr, ROWS: tl.constexpr, UNITS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    channel = tl.arange(0, WIDTH)
    used = channel < C
    x = load_tokens(x_ptr, row, channel, N, C)
    normed, xhat, rstd, norm_weight = norm_forward(x, norm_weight_ptr, norm_bias_ptr, channel, C, eps)
    normed = normed.to(w1_ptr.dtype.element_ty)
    store_tokens(normed_ptr, normed, row, channel, N, C)
    dy = load_tokens(dy_ptr, row, channel, N, C)

    dnormed = tl.zeros([ROWS, WIDTH], tl.float32)
    for first in range(0, HIDDEN, UNITS):
        unit = first + tl.arange(0, UNITS)
        w1, w2 = _load_units(w1_ptr, w2_ptr, unit, channel, C, HIDDEN)
        h = tl.dot(normed, w1, input_precision=PRECISION) + tl.load(b1_ptr + unit).to(tl.float32)[None, :]
        g, slope = gelu_and_slope(h)
        dh = (tl.dot(dy, tl.trans(w2), input_precision=PRECISION) * slope).to(w1.dtype)
        dnormed += tl.dot(dh, tl.trans(w1), input_precision=PRECISION)
        offset = row.to(tl.int64)[:, None] * HIDDEN + unit[None, :]
        tl.store(g_ptr + offset, g.to(g_ptr.dtype.element_ty), mask=(row < N)[:, None])
        tl.store(dh_ptr + offset, dh, mask=(row < N)[:, None])

    store_tokens(dx_ptr, norm_backward(dnormed, xhat, rstd, norm_weight, C), row, channel, N, C)
    part = dnorm_ptr + tl.program_id(0).to(tl.int64) * 2 * C + channel
    tl.store(part, tl.sum(dnormed * xhat, axis=0), mask=used)
    tl.store(part + C, tl.sum(dnormed, axis=0), mask=used)


@triton_op("twins::fused_mlp", mutates_args={})
def fused_mlp(
    x: Tensor, norm_weight: Tensor, norm_bias: Tensor, eps: float, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor
) -> Tensor:
    """w2 @ gelu(w1 @ layer_norm(x) + b1) + b2 for every token, in the projections' dtype: (N, C) -> (N, C).

    `w1` (hidden, C) and `b1` (hidden) are fc1's, `w2` (C, hidden) and `b2` (C) are fc2's. Sizes as for `fits`.
    """
    x, norm_weight, norm_bias, w1, b1, w2, b2 = contiguous(x, norm_weight, norm_bias, w1, b1, w2, b2)
    N, C = x.shape
    y = x.new_empty(N, C, dtype=w1.dtype)
    tile = mlp_tile(C, w1.dtype)
    with on_device_of(x):
        if N:
            launchable(_forward)[(-(-N // tile.rows),)](
                x, norm_weight, norm_bias, w1, b1, w2, b2, y, N, C, eps, power_of_two(C), len(w1),
                tile.rows, tile.columns, float32_products(), num_warps=tile.warps, num_stages=tile.stages,
            )  # fmt: skip
    return y


@triton_op("twins::fused_mlp_backward", mutates_args={})
def _mlp_backward(
    dy: Tensor, x: Tensor, norm_weight: Tensor, norm_bias: Tensor, eps: float, w1: Tensor, b1: Tensor, w2: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradient w.r.t. x, normed tokens, activations, gradients w.r.t. hidden units, and the norm's in parts."""
    dy, x, norm_weight, norm_bias, w1, b1, w2 = contiguous(dy, x, norm_weight, norm_bias, w1, b1, w2)
    (N, C), hidden = x.shape, len(w1)
    tile = mlp_backward_tile(C, w1.dtype)
    programs = -(-N // tile.rows)
    dx, normed = torch.empty_like(x), x.new_empty(N, C, dtype=w1.dtype)
    g, dh = x.new_empty(N, hidden, dtype=w1.dtype), x.new_empty(N, hidden, dtype=w1.dtype)
    dnorm = x.new_empty(programs, 2, C, dtype=torch.float32)
    with on_device_of(x):
        if N:
            launchable(_backward)[(programs,)](
                dy, x, norm_weight, norm_bias, w1, b1, w2, dx, normed, g, dh, dnorm, N, C, eps, power_of_two(C), hidden,
                tile.rows, tile.columns, float32_products(), num_warps=tile.warps, num_stages=tile.stages,
            )  # fmt: skip
    return dx, normed, g, dh, dnorm


def _save(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    x, norm_weight, norm_bias, ctx.eps, w1, b1, w2, _ = inputs
    ctx.save_for_backward(x, norm_weight, norm_bias, w1, b1, w2)


def _gradients(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    x, norm_weight, norm_bias, w1, b1, w2 = ctx.saved_tensors
    dx, normed, g, dh, parts = _mlp_backward(dy, x, norm_weight, norm_bias, ctx.eps, w1, b1, w2)
    dnorm_weight, dnorm_bias = parts.sum(dim=0).unbind()
    return (
        dx, dnorm_weight.to(norm_weight.dtype), dnorm_bias.to(norm_bias.dtype), None,
        weight_gradient(dh, normed), bias_gradient(dh, w1.dtype), weight_gradient(dy, g), bias_gradient(dy, w1.dtype),
    )  # fmt: skip


fused_mlp.register_autograd(_gradients, setup_context=_save)

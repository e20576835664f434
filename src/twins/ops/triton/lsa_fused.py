"""Norm, projections and window attention in one kernel, where a token's channels fit one tile.

One program is one window with all of its heads: it reads its tokens, and writes what is added to them. Queries, keys
and values never reach memory, and only the input is saved; on the way back they are computed again, by the kernels
that wider maps use, since the library then multiplies for the weights' gradients anyway.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor
from torch.library import triton_op

from .head_projections import into_head, out_of_head
from .launch import LOG2_E, contiguous, float32_products, on_device_of, startable
from .linear_gradients import bias_gradient, weight_gradient
from .lsa_kernels import attend_in_windows, exponentials, gradients_in_windows, locate
from .norm_kernels import layer_norm, layer_norm_gradients, norm_forward
from .tiles import power_of_two, sublayer_tile

__all__ = ["MAX_WIDTH", "whole_window_attention"]

MAX_WIDTH = 128  # of a tile of tokens beside its accumulator and a head's share of the weights


@triton.jit
def _forward(
    x_ptr, gain_ptr, shift_ptr, in_ptr, in_bias_ptr, out_ptr, out_bias_ptr, y_ptr,
    H, W, rows, columns, C, heads, eps, scale,
    WINDOW: tl.constexpr, TOKENS: tl.constexpr, WIDTH: tl.constexpr, D: tl.constexpr, CLIPPED: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    place, on_map, in_window = locate(tl.program_id(0), H, W, rows, columns, WINDOW, TOKENS)
    channel = tl.arange(0, WIDTH)
    token = place[:, None] * C + channel[None, :]
    mask = on_map[:, None] & (channel < C)[None, :]
    x = tl.load(x_ptr + token, mask=mask, other=0.0)
    x, _, _, _ = norm_forward(x, gain_ptr, shift_ptr, channel, C, eps)
    x = tl.where(on_map[:, None], x, 0.0).to(in_ptr.dtype.element_ty)  # padding comes after the norm
    is_key = on_map if CLIPPED else in_window
    y = tl.zeros([TOKENS, WIDTH], tl.float32)
    for head in range(heads):
        column = head * D + tl.arange(0, D)
        q = into_head(x, in_ptr, in_bias_ptr, column, channel, C, PRECISION)
        k = into_head(x, in_ptr, in_bias_ptr, C + column, channel, C, PRECISION)
        v = into_head(x, in_ptr, in_bias_ptr, 2 * C + column, channel, C, PRECISION)
        p, total = exponentials(q, k, is_key, scale, PRECISION)
        attended = tl.dot(p.to(v.dtype), v, input_precision=PRECISION) / total[:, None]
        y += out_of_head(attended.to(v.dtype), out_ptr, column, channel, C, PRECISION)
    y += tl.load(out_bias_ptr + channel, mask=channel < C, other=0.0).to(tl.float32)[None, :]
    tl.store(y_ptr + token, y.to(y_ptr.dtype.element_ty), mask=mask)


def whole_window_attention(
    x_BHWC: Tensor, norm: tuple[Tensor, Tensor, float], qkv: tuple[Tensor, Tensor], proj: tuple[Tensor, Tensor],
    heads: int, window: int, clipped: bool,
) -> Tensor:  # fmt: skip
    """What a window sublayer adds to a map, in the weights' type: (B, H, W, C) -> (B, H, W, C).

    `norm` is gain, shift and epsilon, the others weight and bias. Windows that stick out are `clipped`, or filled up
    with zeros. Heads and windows as for `attend_in_windows`; C is at most MAX_WIDTH.
    """
    y: Tensor = _attend(x_BHWC, *norm, *qkv, *proj, heads, window, clipped)
    return y


@triton_op("twins::window_sublayer", mutates_args={})
def _attend(
    x: Tensor, gain: Tensor, shift: Tensor, eps: float,
    w_in: Tensor, b_in: Tensor, w_out: Tensor, b_out: Tensor, heads: int, window: int, clipped: bool,
) -> Tensor:  # fmt: skip
    x, gain, shift, w_in, b_in, w_out, b_out = contiguous(x, gain, shift, w_in, b_in, w_out, b_out)
    B, H, W, C = x.shape
    y = torch.empty_like(x, dtype=w_in.dtype)
    rows, columns, tile = -(-H // window), -(-W // window), sublayer_tile(C, w_in.dtype)
    with on_device_of(x):
        if x.numel():
            startable(_forward)[(B * rows * columns,)](
                x, gain, shift, w_in, b_in, w_out, b_out, y, H, W, rows, columns, C, heads, eps,
                (C // heads) ** -0.5 * LOG2_E, window, power_of_two(window * window), power_of_two(C), C // heads,
                clipped, float32_products(), num_warps=tile.warps, num_stages=tile.stages,
            )  # fmt: skip
    return y


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, gain, shift, ctx.eps, w_in, b_in, w_out, _, ctx.heads, ctx.window, ctx.clipped = inputs
    ctx.save_for_backward(x, gain, shift, w_in, b_in, w_out)


def _gradients(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    x, gain, shift, w_in, b_in, w_out = ctx.saved_tensors
    (_, H, W, _), window = x.shape, ctx.window
    fill = None if ctx.clipped or not (H % window or W % window) else b_in
    normed = layer_norm(x, gain, shift, ctx.eps, w_in.dtype)
    qkv = F.linear(normed, w_in, b_in)
    attended = attend_in_windows(qkv, fill, ctx.heads, window)
    dqkv, dfill = gradients_in_windows(dy @ w_out, qkv, fill, ctx.heads, window)
    dx, dgain, dshift = layer_norm_gradients(dqkv @ w_in, x, gain, shift, ctx.eps)
    db_in = bias_gradient(dqkv, w_in.dtype)
    if dfill is not None:
        db_in += dfill
    return (
        dx, dgain, dshift, None, weight_gradient(dqkv, normed), db_in,
        weight_gradient(dy, attended), bias_gradient(dy, w_in.dtype), None, None, None,
    )  # fmt: skip


_attend.register_autograd(_gradients, setup_context=_save)

"""The whole LSA sublayer, norm and projections included, in one kernel, where a token's channels fit one tile.

One program is one window with all of its heads: it reads its tokens, and writes what is added to them. Queries, keys
and values never reach memory, and only the input is saved; in the backward pass they are computed again, by the kernels
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

from .head_projections import project_from_head, project_to_head
from .launch import LOG2_E, contiguous, float32_products, launchable, on_device_of
from .linear_gradients import bias_gradient, weight_gradient
from .lsa_kernels import exponentials, locate_tokens, lsa, lsa_gradients
from .norm_kernels import layer_norm, layer_norm_gradients, norm_forward
from .tiles import power_of_two, sublayer_tile

__all__ = ["MAX_WIDTH", "fused_lsa"]

MAX_WIDTH = 128  # of a tile of tokens beside its accumulator and a head's share of the weights


@triton.jit
def _forward(
    x_ptr, norm_weight_ptr, norm_bias_ptr, qkv_weight_ptr, qkv_bias_ptr, proj_weight_ptr, proj_bias_ptr, y_ptr,
    H, W, rows, columns, C, heads, eps, scale,
    WINDOW: tl.constexpr, TOKENS: tl.constexpr, WIDTH: tl.constexpr, D: tl.constexpr, CLIPPED: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    index, on_map, in_window = locate_tokens(tl.program_id(0), H, W, rows, columns, WINDOW, TOKENS)
    channel = tl.arange(0, WIDTH)
    token = index[:, None] * C + channel[None, :]
    mask = on_map[:, None] & (channel < C)[None, :]
    x = tl.load(x_ptr + token, mask=mask, other=0.0)
    x, _, _, _ = norm_forward(x, norm_weight_ptr, norm_bias_ptr, channel, C, eps)
    x = tl.where(on_map[:, None], x, 0.0).to(qkv_weight_ptr.dtype.element_ty)  # padding comes after the norm
    is_key = on_map if CLIPPED else in_window
    y = tl.zeros([TOKENS, WIDTH], tl.float32)
    for head in range(heads):
        column = head * D + tl.arange(0, D)
        q = project_to_head(x, qkv_weight_ptr, qkv_bias_ptr, column, channel, C, PRECISION)
        k = project_to_head(x, qkv_weight_ptr, qkv_bias_ptr, C + column, channel, C, PRECISION)
        v = project_to_head(x, qkv_weight_ptr, qkv_bias_ptr, 2 * C + column, channel, C, PRECISION)
        p, total = exponentials(q, k, is_key, scale, PRECISION)
        attended = tl.dot(p.to(v.dtype), v, input_precision=PRECISION) / total[:, None]
        y += project_from_head(attended.to(v.dtype), proj_weight_ptr, column, channel, C, PRECISION)
    y += tl.load(proj_bias_ptr + channel, mask=channel < C, other=0.0).to(tl.float32)[None, :]
    tl.store(y_ptr + token, y.to(y_ptr.dtype.element_ty), mask=mask)


@triton_op("twins::fused_lsa", mutates_args={})
def fused_lsa(
    x: Tensor, norm_weight: Tensor, norm_bias: Tensor, eps: float,
    qkv_weight: Tensor, qkv_bias: Tensor, proj_weight: Tensor, proj_bias: Tensor,
    heads: int, window: int, clipped: bool,
) -> Tensor:  # fmt: skip
    """proj(attention(qkv(norm(x)))) within windows, in the projections' dtype: (B, H, W, C) -> (B, H, W, C).

    Windows that stick out are `clipped`, or filled up with zeros before qkv. Heads and windows as for `lsa`; C is at
    most MAX_WIDTH.
    """
    x, norm_weight, norm_bias, qkv_weight, qkv_bias, proj_weight, proj_bias = contiguous(
        x, norm_weight, norm_bias, qkv_weight, qkv_bias, proj_weight, proj_bias
    )
    B, H, W, C = x.shape
    y = torch.empty_like(x, dtype=qkv_weight.dtype)
    rows, columns, tile = -(-H // window), -(-W // window), sublayer_tile(C, qkv_weight.dtype)
    with on_device_of(x):
        if x.numel():
            launchable(_forward)[(B * rows * columns,)](
                x, norm_weight, norm_bias, qkv_weight, qkv_bias, proj_weight, proj_bias, y,
                H, W, rows, columns, C, heads, eps,
                (C // heads) ** -0.5 * LOG2_E, window, power_of_two(window * window), power_of_two(C), C // heads,
                clipped, float32_products(), num_warps=tile.warps, num_stages=tile.stages,
            )  # fmt: skip
    return y


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, norm_weight, norm_bias, ctx.eps, qkv_weight, qkv_bias, proj_weight, _, ctx.heads, ctx.window, ctx.clipped = (
        inputs
    )
    ctx.save_for_backward(x, norm_weight, norm_bias, qkv_weight, qkv_bias, proj_weight)


def _gradients(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    x, norm_weight, norm_bias, qkv_weight, qkv_bias, proj_weight = ctx.saved_tensors
    (_, H, W, _), window = x.shape, ctx.window
    fill = None if ctx.clipped or not (H % window or W % window) else qkv_bias
    normed = layer_norm(x, norm_weight, norm_bias, ctx.eps, qkv_weight.dtype)
    qkv = F.linear(normed, qkv_weight, qkv_bias)
    attended = lsa(qkv, fill, ctx.heads, window)
    dqkv, dfill = lsa_gradients(dy @ proj_weight, qkv, fill, ctx.heads, window)
    dx, dnorm_weight, dnorm_bias = layer_norm_gradients(dqkv @ qkv_weight, x, norm_weight, norm_bias, ctx.eps)
    dqkv_bias = bias_gradient(dqkv, qkv_weight.dtype)
    if dfill is not None:
        dqkv_bias += dfill
    return (
        dx, dnorm_weight, dnorm_bias, None, weight_gradient(dqkv, normed), dqkv_bias,
        weight_gradient(dy, attended), bias_gradient(dy, qkv_weight.dtype), None, None, None,
    )  # fmt: skip


fused_lsa.register_autograd(_gradients, setup_context=_save)

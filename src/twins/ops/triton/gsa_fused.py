"""Queries' projection, attention to the summary and the last projection in one kernel, where channels fit one tile.

One program is a block of tokens with all heads, and goes through the keys by a running softmax. Queries and what they
attended to never reach memory; on the way back they are computed again, by the kernels that wider maps use.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor
from torch.library import triton_op

from .gsa_kernels import attend_to_keys, attend_with_denominators, gradients_of_summary
from .head_projections import into_head, out_of_head
from .launch import LOG2_E, contiguous, float32_products, on_device_of, startable
from .linear_gradients import bias_gradient, weight_gradient
from .tiles import power_of_two, sublayer_tile

__all__ = ["whole_summary_attention"]


@triton.jit
def _forward(
    x_ptr, in_ptr, in_bias_ptr, kv_ptr, out_ptr, out_bias_ptr, y_ptr, N, M, C, heads, blocks, scale,
    WIDTH: tl.constexpr, D: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    block, image = tl.program_id(0) % blocks, tl.program_id(0) // blocks
    row = block * ROWS + tl.arange(0, ROWS)
    channel = tl.arange(0, WIDTH)
    token = (image.to(tl.int64) * N + row)[:, None] * C + channel[None, :]
    mask = (row < N)[:, None] & (channel < C)[None, :]
    x = tl.load(x_ptr + token, mask=mask, other=0.0)
    y = tl.zeros([ROWS, WIDTH], tl.float32)
    for head in range(heads):
        column = head * D + tl.arange(0, D)
        q = into_head(x, in_ptr, in_bias_ptr, column, channel, C, PRECISION)
        attended, _, total = attend_to_keys(q, kv_ptr, image, M, C, column, scale, ROWS, D, KEYS, PRECISION)
        attended = (attended / total[:, None]).to(x.dtype)
        y += out_of_head(attended, out_ptr, column, channel, C, PRECISION)
    y += tl.load(out_bias_ptr + channel, mask=channel < C, other=0.0).to(tl.float32)[None, :]
    tl.store(y_ptr + token, y.to(y_ptr.dtype.element_ty), mask=mask)


def whole_summary_attention(
    x_BNC: Tensor, q: tuple[Tensor, Tensor], kv_BMX: Tensor, proj: tuple[Tensor, Tensor], heads: int
) -> Tensor:
    """What normed tokens get from a summary: (B, N, C) and (B, M, 2C) -> (B, N, C), all of one type.

    `q` and `proj` are weight and bias. Keys, values and heads as for `attend_to_summary`; C as for a window sublayer.
    """
    y: Tensor = _attend(x_BNC, *q, kv_BMX, *proj, heads)
    return y


@triton_op("twins::summary_sublayer", mutates_args={})
def _attend(x: Tensor, w_in: Tensor, b_in: Tensor, kv: Tensor, w_out: Tensor, b_out: Tensor, heads: int) -> Tensor:
    x, w_in, b_in, kv, w_out, b_out = contiguous(x, w_in, b_in, kv, w_out, b_out)
    (B, N, C), M = x.shape, kv.shape[1]
    y = torch.empty_like(x)
    tile = sublayer_tile(C, x.dtype)
    blocks = -(-N // tile.rows)
    with on_device_of(x):
        if x.numel():
            startable(_forward)[(B * blocks,)](
                x, w_in, b_in, kv, w_out, b_out, y, N, M, C, heads, blocks, (C // heads) ** -0.5 * LOG2_E,
                power_of_two(C), C // heads, tile.rows, tile.columns, float32_products(),
                num_warps=tile.warps, num_stages=tile.stages,
            )  # fmt: skip
    return y


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, w_in, b_in, kv, w_out, _, ctx.heads = inputs
    ctx.save_for_backward(x, w_in, b_in, kv, w_out)


def _gradients(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    x, w_in, b_in, kv, w_out = ctx.saved_tensors
    q = F.linear(x, w_in, b_in)
    attended, denominators = attend_with_denominators(q, kv, ctx.heads)
    dq, dkv = gradients_of_summary(dy @ w_out, q, kv, attended, denominators, ctx.heads)
    return (
        dq @ w_in, weight_gradient(dq, x), bias_gradient(dq, x.dtype), dkv,
        weight_gradient(dy, attended), bias_gradient(dy, x.dtype), None,
    )  # fmt: skip


_attend.register_autograd(_gradients, setup_context=_save)

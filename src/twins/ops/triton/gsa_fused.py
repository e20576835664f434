"""GSA with the projections of queries and output in one kernel, where a token's channels fit one tile.

One program is a block of tokens with all heads, and goes through the keys by a running softmax. Queries and what they
attended to never reach memory; in the backward pass they are computed again, by the kernels that wider maps use.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor
from torch.library import triton_op

from .gsa_kernels import attend_to_keys, gsa, gsa_gradients
from .head_projections import project_from_head, project_to_head
from .launch import LOG2_E, contiguous, float32_products, launchable, on_device_of
from .linear_gradients import bias_gradient, weight_gradient
from .tiles import power_of_two, sublayer_tile

__all__ = ["fused_gsa"]


@triton.jit
def _forward(
    x_ptr, q_weight_ptr, q_bias_ptr, kv_ptr, proj_weight_ptr, proj_bias_ptr, y_ptr, N, M, C, heads, blocks, scale,
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
        q = project_to_head(x, q_weight_ptr, q_bias_ptr, column, channel, C, PRECISION)
        attended, _, total = attend_to_keys(q, kv_ptr, image, M, C, column, scale, ROWS, D, KEYS, PRECISION)
        attended = (attended / total[:, None]).to(x.dtype)
        y += project_from_head(attended, proj_weight_ptr, column, channel, C, PRECISION)
    y += tl.load(proj_bias_ptr + channel, mask=channel < C, other=0.0).to(tl.float32)[None, :]
    tl.store(y_ptr + token, y.to(y_ptr.dtype.element_ty), mask=mask)


@triton_op("twins::fused_gsa", mutates_args={})
def fused_gsa(
    x: Tensor, q_weight: Tensor, q_bias: Tensor, kv: Tensor, proj_weight: Tensor, proj_bias: Tensor, heads: int
) -> Tensor:
    """proj(attention(q(x), kv)) of normed tokens: (B, N, C) and (B, M, 2C) -> (B, N, C), all of one dtype.

    Keys, values and heads as for `gsa`; C as for `fused_lsa`.
    """
    x, q_weight, q_bias, kv, proj_weight, proj_bias = contiguous(x, q_weight, q_bias, kv, proj_weight, proj_bias)
    (B, N, C), M = x.shape, kv.shape[1]
    y = torch.empty_like(x)
    tile = sublayer_tile(C, x.dtype)
    blocks = -(-N // tile.rows)
    with on_device_of(x):
        if x.numel():
            launchable(_forward)[(B * blocks,)](
                x, q_weight, q_bias, kv, proj_weight, proj_bias, y, N, M, C, heads, blocks,
                (C // heads) ** -0.5 * LOG2_E, power_of_two(C), C // heads, tile.rows, tile.columns, float32_products(),
                num_warps=tile.warps, num_stages=tile.stages,
            )  # fmt: skip
    return y


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, q_weight, q_bias, kv, proj_weight, _, ctx.heads = inputs
    ctx.save_for_backward(x, q_weight, q_bias, kv, proj_weight)


def _gradients(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    x, q_weight, q_bias, kv, proj_weight = ctx.saved_tensors
    q = F.linear(x, q_weight, q_bias)
    attended, lse = gsa(q, kv, ctx.heads)
    dq, dkv = gsa_gradients(dy @ proj_weight, q, kv, attended, lse, ctx.heads)
    return (
        dq @ q_weight, weight_gradient(dq, x), bias_gradient(dq, x.dtype), dkv,
        weight_gradient(dy, attended), bias_gradient(dy, x.dtype), None,
    )  # fmt: skip


fused_gsa.register_autograd(_gradients, setup_context=_save)

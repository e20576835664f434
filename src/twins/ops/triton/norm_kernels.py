"""LayerNorm of tokens, many of them a program.

PyTorch's gives every token a block of threads, most of which have nothing to do where a token has 64 channels; and
under autocast it returns float32, though the product that follows takes half of that.

A token lies in one tile as a whole, so that its mean and standard deviation are computed again in the backward pass:
nothing is saved but the input. Gradients of weight and bias are summed in parts, one a program, and those in a fixed
order.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.library import triton_op

from .launch import contiguous, launchable, on_device_of
from .tiles import NORM_STEPS, norm_tile, power_of_two

__all__ = [
    "fits_tile", "layer_norm", "layer_norm_gradients", "load_tokens", "norm_backward", "norm_forward", "store_tokens",
]  # fmt: skip

_MAX_WIDTH = 4096


def fits_tile(width: int) -> bool:
    """Whether one program can hold whole tokens of so many channels."""
    return width <= _MAX_WIDTH


@triton.jit
def load_tokens(ptr, row, channel, N, C):
    mask = (row < N)[:, None] & (channel < C)[None, :]
    return tl.load(ptr + row.to(tl.int64)[:, None] * C + channel[None, :], mask=mask, other=0.0)


@triton.jit
def store_tokens(ptr, x, row, channel, N, C):
    mask = (row < N)[:, None] & (channel < C)[None, :]
    tl.store(ptr + row.to(tl.int64)[:, None] * C + channel[None, :], x.to(ptr.dtype.element_ty), mask=mask)


@triton.jit
def norm_forward(x, weight_ptr, bias_ptr, channel, C, eps):
    """Normed tokens (R, C) in float32; for the backward pass xhat (before weight and bias), 1 / std and the weight."""
    x = x.to(tl.float32)
    centred = tl.where((channel < C)[None, :], x - (tl.sum(x, axis=1) / C)[:, None], 0.0)
    rstd = tl.rsqrt(tl.sum(centred * centred, axis=1) / C + eps)
    xhat = centred * rstd[:, None]
    weight = tl.load(weight_ptr + channel, mask=channel < C, other=0.0).to(tl.float32)
    bias = tl.load(bias_ptr + channel, mask=channel < C, other=0.0).to(tl.float32)
    return xhat * weight[None, :] + bias[None, :], xhat, rstd, weight


@triton.jit
def norm_backward(dy, xhat, rstd, weight, C):
    """The gradient w.r.t. the tokens, from that w.r.t. the normed ones; all in float32."""
    dxhat = dy * weight[None, :]
    along = tl.sum(dxhat * xhat, axis=1) / C
    return (dxhat - (tl.sum(dxhat, axis=1) / C)[:, None] - xhat * along[:, None]) * rstd[:, None]


@triton.jit
def _forward(x_ptr, weight_ptr, bias_ptr, y_ptr, N, C, eps, WIDTH: tl.constexpr, ROWS: tl.constexpr):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    channel = tl.arange(0, WIDTH)
    y, _, _, _ = norm_forward(load_tokens(x_ptr, row, channel, N, C), weight_ptr, bias_ptr, channel, C, eps)
    store_tokens(y_ptr, y, row, channel, N, C)


@triton.jit
def _backward(
    dy_ptr, x_ptr, weight_ptr, bias_ptr, dx_ptr, parts_ptr, N, C, eps,
    STEPS: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    channel = tl.arange(0, WIDTH)
    dweight, dbias = tl.zeros([WIDTH], tl.float32), tl.zeros([WIDTH], tl.float32)
    first = tl.program_id(0) * STEPS * ROWS
    for start in range(first, min(first + STEPS * ROWS, N), ROWS):
        row = start + tl.arange(0, ROWS)
        x = load_tokens(x_ptr, row, channel, N, C)
        _, xhat, rstd, weight = norm_forward(x, weight_ptr, bias_ptr, channel, C, eps)
        dy = load_tokens(dy_ptr, row, channel, N, C).to(tl.float32)
        store_tokens(dx_ptr, norm_backward(dy, xhat, rstd, weight, C), row, channel, N, C)
        dweight += tl.sum(dy * xhat, axis=0)
        dbias += tl.sum(dy, axis=0)
    part = parts_ptr + tl.program_id(0).to(tl.int64) * 2 * C + channel
    tl.store(part, dweight, mask=channel < C)
    tl.store(part + C, dbias, mask=channel < C)


@triton_op("twins::layer_norm", mutates_args={})
def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    """Tokens (..., C) normed over their channels, computed in float32 and returned in `dtype`."""
    x, weight, bias = contiguous(x, weight, bias)
    C = x.shape[-1]
    N = x.numel() // C
    y = torch.empty_like(x, dtype=dtype)
    tile = norm_tile(C)
    with on_device_of(x):
        if N:
            launchable(_forward)[(-(-N // tile.rows),)](
                x, weight, bias, y, N, C, eps, power_of_two(C), tile.rows,
                num_warps=tile.warps, num_stages=tile.stages,
            )  # fmt: skip
    return y


@triton_op("twins::layer_norm_backward", mutates_args={})
def _layer_norm_backward(dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The gradient w.r.t. the tokens (..., C), and those w.r.t. weight and bias in parts (parts, 2, C)."""
    dy, x, weight, bias = contiguous(dy, x, weight, bias)
    C = x.shape[-1]
    N = x.numel() // C
    tile = norm_tile(C)
    programs = -(-N // (NORM_STEPS * tile.rows))
    dx, parts = torch.empty_like(x), x.new_empty(programs, 2, C, dtype=torch.float32)
    with on_device_of(x):
        if N:
            launchable(_backward)[(programs,)](
                dy, x, weight, bias, dx, parts, N, C, eps, NORM_STEPS, power_of_two(C), tile.rows,
                num_warps=tile.warps, num_stages=tile.stages,
            )  # fmt: skip
    return dx, parts


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, bias, ctx.eps, _ = inputs
    ctx.save_for_backward(x, weight, bias)


def layer_norm_gradients(
    dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """From the gradient w.r.t. the output of `layer_norm` those w.r.t. the tokens, weight and bias."""
    dx, parts = _layer_norm_backward(dy, x, weight, bias, eps)
    dweight, dbias = parts.sum(dim=0).unbind()
    return dx, dweight.to(weight.dtype), dbias.to(bias.dtype)


def _gradients(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
    x, weight, bias = ctx.saved_tensors
    return *layer_norm_gradients(dy, x, weight, bias, ctx.eps), None, None


layer_norm.register_autograd(_gradients, setup_context=_save)

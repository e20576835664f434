"""The positional encoding generator on channels-last tokens: nine shifted reads of the map, no change of layout.

Its gradient w.r.t. the map is the same sum with the taps flipped, hence the same kernel. The weights' gradients are
summed in parts, one a program, and those in a fixed order.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.library import triton_op

from .launch import contiguous, launchable, on_device_of
from .tiles import PEG_STEPS, PEG_TILE

__all__ = ["positional_encoding"]

_SUMS = 10  # a channel: nine taps, then the bias


@triton.jit
def _load_shifted(x_ptr, token, channel, tap, tokens, H, W, C):
    """The map shifted by a tap (0 to 8, row by row), zeros around it: (tokens, channels) in float32."""
    row, column = token // W % H + tap // 3 - 1, token % W + tap % 3 - 1
    inside = (token < tokens) & (row >= 0) & (row < H) & (column >= 0) & (column < W)
    offset = token.to(tl.int64) + (tap // 3 - 1) * W + tap % 3 - 1
    mask = inside[:, None] & (channel < C)[None, :]
    return tl.load(x_ptr + offset[:, None] * C + channel[None, :], mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _convolve(
    x_ptr, weight_ptr, bias_ptr, y_ptr, tokens, H, W, C,
    FLIPPED: tl.constexpr, ROWS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """x + bias + the sum over taps; with the taps flipped and without the bias, the gradient w.r.t. x."""
    token = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    y = _load_shifted(x_ptr, token, channel, 4, tokens, H, W, C)
    if not FLIPPED:
        y += tl.load(bias_ptr + channel, mask=channel < C, other=0.0).to(tl.float32)[None, :]
    for tap in tl.static_range(9):
        weight = tl.load(weight_ptr + channel * 9 + (8 - tap if FLIPPED else tap), mask=channel < C, other=0.0)
        y += _load_shifted(x_ptr, token, channel, tap, tokens, H, W, C) * weight.to(tl.float32)[None, :]
    offset = token.to(tl.int64)[:, None] * C + channel[None, :]
    tl.store(y_ptr + offset, y.to(y_ptr.dtype.element_ty), mask=(token < tokens)[:, None] & (channel < C)[None, :])


@triton.jit
def _weight_gradients(
    dy_ptr, x_ptr, parts_ptr, tokens, H, W, C,
    SUMS: tl.constexpr, STEPS: tl.constexpr, ROWS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Over this program's tokens: the gradient times each neighbour, and the gradient itself."""
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    kind = tl.arange(0, 16)
    sums = tl.zeros([16, CHANNELS], tl.float32)
    first = tl.program_id(0) * STEPS * ROWS
    for start in range(first, min(first + STEPS * ROWS, tokens), ROWS):
        token = start + tl.arange(0, ROWS)
        dy = _load_shifted(dy_ptr, token, channel, 4, tokens, H, W, C)
        sums += tl.where((kind == 9)[:, None], tl.sum(dy, axis=0)[None, :], 0.0)
        for tap in tl.static_range(9):
            product = tl.sum(dy * _load_shifted(x_ptr, token, channel, tap, tokens, H, W, C), axis=0)
            sums += tl.where((kind == tap)[:, None], product[None, :], 0.0)
    offset = (tl.program_id(0).to(tl.int64) * SUMS + kind)[:, None] * C + channel[None, :]
    tl.store(parts_ptr + offset, sums, mask=(kind < SUMS)[:, None] & (channel < C)[None, :])


@triton_op("twins::peg", mutates_args={})
def positional_encoding(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x + a depthwise 3x3 convolution of x, zeros around the map: (B, H, W, C) -> (B, H, W, C), of x's dtype.

    `weight` is (C, 1, 3, 3), `bias` (C).
    """
    return _launch_convolution(x, weight, bias, flipped=False)


@triton_op("twins::peg_backward", mutates_args={})
def _peg_backward(dy: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients w.r.t. x, and w.r.t. taps and bias in parts (parts, 10, C)."""
    dy, x = dy.contiguous(), x.contiguous()
    (B, H, W, C), tile = x.shape, PEG_TILE
    programs = -(-B * H * W // (tile.rows * PEG_STEPS))
    parts = x.new_empty(programs, _SUMS, C, dtype=torch.float32)
    with on_device_of(x):
        if x.numel():
            launchable(_weight_gradients)[(programs, -(-C // tile.columns))](
                dy, x, parts, B * H * W, H, W, C, _SUMS, PEG_STEPS, tile.rows, tile.columns,
                num_warps=tile.warps, num_stages=tile.stages,
            )  # fmt: skip
    return _launch_convolution(dy, weight, weight, flipped=True), parts


def _launch_convolution(x: Tensor, weight: Tensor, bias: Tensor, flipped: bool) -> Tensor:
    x, weight, bias = contiguous(x, weight, bias)
    (B, H, W, C), tile = x.shape, PEG_TILE
    y = torch.empty_like(x)
    with on_device_of(x):
        if x.numel():
            launchable(_convolve)[(-(-B * H * W // tile.rows), -(-C // tile.columns))](
                x, weight, bias, y, B * H * W, H, W, C, flipped, tile.rows, tile.columns,
                num_warps=tile.warps, num_stages=tile.stages,
            )  # fmt: skip
    return y


def _save(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _gradients(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    x, weight, bias = ctx.saved_tensors
    dx, parts = _peg_backward(dy, x, weight)
    taps, dbias = parts.sum(dim=0).split((9, 1))
    return dx, taps.T.reshape(weight.shape).to(weight.dtype), dbias.flatten().to(bias.dtype)


positional_encoding.register_autograd(_gradients, setup_context=_save)

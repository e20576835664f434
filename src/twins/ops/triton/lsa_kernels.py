"""LSA's attention within windows, straight on the map: no copy into windows, and no padding in memory.

One program is one window of one head. It finds its tokens by their coordinates in a (B, H, W, 3C) map of queries, keys
and values and writes where a (B, H, W, C) map wants them. 49 tokens are padded to 64 rows of the tile, in registers.

All keys of a window fit one tile, so that its softmax is computed again in the backward pass: nothing is saved but the
input. Each token lies in one window, so that its gradient is written once.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.library import triton_op

from .launch import LOG2_E, float32_products, launchable, on_device_of
from .tiles import Tile, power_of_two, window_tile

__all__ = ["exponentials", "fits", "locate_tokens", "lsa", "lsa_gradients"]

_MAX_TOKENS = 64  # of a window, whose probabilities are held at once
_MAX_BYTES = 128  # of a token in a head: five tiles of them share 100 KB in the backward pass (CUDA 8.6, 8.9)


def fits(window: int, head_size: int, dtype: torch.dtype) -> bool:
    """Whether a program can hold a window of one head on any card."""
    return window * window <= _MAX_TOKENS and head_size * dtype.itemsize <= _MAX_BYTES


@triton.jit
def locate_tokens(window, H, W, rows, columns, WINDOW: tl.constexpr, TOKENS: tl.constexpr):
    """Each token of a window: its index among all tokens, whether it lies on the map, whether in the window at all."""
    token = tl.arange(0, TOKENS)
    row = window // columns % rows * WINDOW + token // WINDOW
    column = window % columns * WINDOW + token % WINDOW
    index = ((window // (columns * rows)).to(tl.int64) * H + row) * W + column
    in_window = token < WINDOW * WINDOW
    return index, in_window & (row < H) & (column < W), in_window


@triton.jit
def _load(ptr, fill_ptr, index, on_map, in_window, stride, column, FILLED: tl.constexpr):
    """Rows of q, k or v (T, D); beyond the map the fill, where there is one, else zeros."""
    x = tl.load(ptr + index[:, None] * stride + column[None, :], mask=on_map[:, None], other=0.0)
    if FILLED:
        fill = tl.load(fill_ptr + column)
        x = tl.where((in_window & ~on_map)[:, None], fill[None, :], x)
    return x


@triton.jit
def _load_head(qkv_ptr, fill_ptr, index, on_map, in_window, C, column, FILLED: tl.constexpr):
    """Queries, keys and values (T, D) of the head at these columns."""
    q = _load(qkv_ptr, fill_ptr, index, on_map, in_window, 3 * C, column, False)
    k = _load(qkv_ptr, fill_ptr, index, on_map, in_window, 3 * C, C + column, FILLED)
    v = _load(qkv_ptr, fill_ptr, index, on_map, in_window, 3 * C, 2 * C + column, FILLED)
    return q, k, v


@triton.jit
def exponentials(q, k, is_key, scale, PRECISION: tl.constexpr):
    """exp(scores - their maximum) of every query (row), and the sum over the keys."""
    scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale
    scores = tl.where(is_key[None, :], scores, float("-inf"))
    p = tl.exp2(scores - tl.max(scores, axis=1)[:, None])
    return p, tl.sum(p, axis=1)


@triton.jit
def _forward(
    qkv_ptr, fill_ptr, y_ptr, H, W, rows, columns, heads, scale,
    WINDOW: tl.constexpr, TOKENS: tl.constexpr, D: tl.constexpr, FILLED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    head, window = tl.program_id(0) % heads, tl.program_id(0) // heads
    C = heads * D
    index, on_map, in_window = locate_tokens(window, H, W, rows, columns, WINDOW, TOKENS)
    column = head * D + tl.arange(0, D)
    q, k, v = _load_head(qkv_ptr, fill_ptr, index, on_map, in_window, C, column, FILLED)
    p, total = exponentials(q, k, in_window if FILLED else on_map, scale, PRECISION)
    y = tl.dot(p.to(v.dtype), v, input_precision=PRECISION) / total[:, None]
    tl.store(y_ptr + index[:, None] * C + column[None, :], y.to(y_ptr.dtype.element_ty), mask=on_map[:, None])


@triton.jit
def _backward(
    dy_ptr, qkv_ptr, fill_ptr, dqkv_ptr, dfill_ptr, H, W, rows, columns, heads, scale, score_scale,
    WINDOW: tl.constexpr, TOKENS: tl.constexpr, D: tl.constexpr, FILLED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    head, window = tl.program_id(0) % heads, tl.program_id(0) // heads
    C = heads * D
    index, on_map, in_window = locate_tokens(window, H, W, rows, columns, WINDOW, TOKENS)
    column = head * D + tl.arange(0, D)
    q, k, v = _load_head(qkv_ptr, fill_ptr, index, on_map, in_window, C, column, FILLED)
    dy = _load(dy_ptr, fill_ptr, index, on_map, in_window, C, column, False)

    p, total = exponentials(q, k, in_window if FILLED else on_map, score_scale, PRECISION)
    p = p / total[:, None]
    dp = tl.dot(dy, tl.trans(v), input_precision=PRECISION)
    ds = (p * (dp - tl.sum(p * dp, axis=1)[:, None]) * scale).to(q.dtype)
    dq = tl.dot(ds, k, input_precision=PRECISION)
    dk = tl.dot(tl.trans(ds), q, input_precision=PRECISION)
    dv = tl.dot(tl.trans(p.to(dy.dtype)), dy, input_precision=PRECISION)

    out = dqkv_ptr + index[:, None] * 3 * C + column[None, :]
    dtype = dqkv_ptr.dtype.element_ty
    tl.store(out, dq.to(dtype), mask=on_map[:, None])
    tl.store(out + C, dk.to(dtype), mask=on_map[:, None])
    tl.store(out + 2 * C, dv.to(dtype), mask=on_map[:, None])
    if FILLED:
        beyond = (in_window & ~on_map)[:, None]
        part = dfill_ptr + window.to(tl.int64) * 2 * C + column
        tl.store(part, tl.sum(tl.where(beyond, dk, 0.0), axis=0))
        tl.store(part + C, tl.sum(tl.where(beyond, dv, 0.0), axis=0))


@triton_op("twins::lsa", mutates_args={})
def lsa(qkv: Tensor, fill: Tensor | None, heads: int, window: int) -> Tensor:
    """Softmax attention within windows of a map of queries, keys and values: (B, H, W, 3C) -> (B, H, W, C).

    Windows that stick out of the map are clipped, or `fill` (3C), where given, stands for tokens beyond it. Heads
    of 16, 32 or 64 channels that `fits`.
    """
    qkv = qkv.contiguous()
    B, H, W, X = qkv.shape
    y = qkv.new_empty(B, H, W, X // 3)
    rows, columns, tile = _windows(H, W, X // 3 // heads, window, qkv.dtype)
    with on_device_of(qkv):
        if y.numel():
            launchable(_forward)[(B * rows * columns * heads,)](
                qkv, qkv if fill is None else fill.contiguous(), y, H, W, rows, columns, heads,
                _scale(X, heads) * LOG2_E, window, power_of_two(window * window), X // 3 // heads, fill is not None,
                float32_products(), num_warps=tile.warps, num_stages=tile.stages,
            )  # fmt: skip
    return y


@triton_op("twins::lsa_backward", mutates_args={})
def _lsa_backward(dy: Tensor, qkv: Tensor, fill: Tensor | None, heads: int, window: int) -> tuple[Tensor, Tensor]:
    """Gradients w.r.t. qkv, and w.r.t. the fill in parts (windows, 2C), keys then values, which the caller sums."""
    dy, qkv = dy.contiguous(), qkv.contiguous()
    B, H, W, X = qkv.shape
    dqkv = torch.empty_like(qkv)
    rows, columns, tile = _windows(H, W, X // 3 // heads, window, qkv.dtype)
    filled = fill is not None
    dfill = qkv.new_empty(B * rows * columns if filled else 0, 2 * X // 3, dtype=torch.float32)
    with on_device_of(qkv):
        if qkv.numel():
            launchable(_backward)[(B * rows * columns * heads,)](
                dy, qkv, qkv if fill is None else fill.contiguous(), dqkv, dfill, H, W, rows, columns, heads,
                _scale(X, heads), _scale(X, heads) * LOG2_E, window, power_of_two(window * window), X // 3 // heads,
                filled, float32_products(), num_warps=tile.warps, num_stages=tile.stages,
            )  # fmt: skip
    return dqkv, dfill


def _windows(H: int, W: int, head_size: int, window: int, dtype: torch.dtype) -> tuple[int, int, Tile]:
    return -(-H // window), -(-W // window), window_tile(head_size, dtype)


def _scale(X: int, heads: int) -> float:
    return float((X // 3 // heads) ** -0.5)


def _save(ctx: Any, inputs: tuple[Tensor, Tensor | None, int, int], output: Tensor) -> None:
    qkv, fill, ctx.heads, ctx.window = inputs
    ctx.save_for_backward(qkv, fill)


def lsa_gradients(
    dy: Tensor, qkv: Tensor, fill: Tensor | None, heads: int, window: int
) -> tuple[Tensor, Tensor | None]:
    """From the gradient w.r.t. the output of `lsa` those w.r.t. its map and its fill."""
    dqkv, parts = _lsa_backward(dy, qkv, fill, heads, window)
    if fill is None:
        return dqkv, None
    keys_values = parts.sum(dim=0)
    return dqkv, torch.cat([keys_values.new_zeros(len(fill) // 3), keys_values]).to(fill.dtype)


def _gradients(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
    qkv, fill = ctx.saved_tensors
    return *lsa_gradients(dy, qkv, fill, ctx.heads, ctx.window), None, None


lsa.register_autograd(_gradients, setup_context=_save)

"""GSA's attention of every token to sub-sampled keys and values, by a running softmax, for any number of keys.

Forward and the queries' gradient: a program takes a block of queries of one head and goes through the keys. The
gradient of keys and values: a program takes a block of keys and goes through a share of the queries; shares are summed
afterwards in a fixed order, without atomics, so that a run repeats to the bit.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.library import triton_op

from .launch import LOG2_E, float32_products, launchable, on_device_of
from .tiles import key_tile

__all__ = ["attend_to_keys", "gsa", "gsa_gradients"]

_PROGRAMS = 512  # that keep a large card busy; with fewer, the queries are shared out


@triton.jit
def _load(ptr, image, length, index, stride, column):
    """Rows `index` of an image's (length, stride) matrix at some columns; zeros behind its end."""
    offset = image.to(tl.int64) * length + index
    return tl.load(ptr + offset[:, None] * stride + column[None, :], mask=(index < length)[:, None], other=0.0)


@triton.jit
def _store(ptr, x, image, length, index, stride, column):
    offset = image.to(tl.int64) * length + index
    mask = (index < length)[:, None]
    tl.store(ptr + offset[:, None] * stride + column[None, :], x.to(ptr.dtype.element_ty), mask=mask)


@triton.jit
def _queries_of_program(heads, blocks, D: tl.constexpr, ROWS: tl.constexpr):
    """The block of queries of this program: image, head, tokens, and the head's columns."""
    head, block = tl.program_id(0) % heads, tl.program_id(0) // heads % blocks
    image = tl.program_id(0) // (heads * blocks)
    return image, head, block * ROWS + tl.arange(0, ROWS), head * D + tl.arange(0, D)


@triton.jit
def attend_to_keys(
    q, kv_ptr, image, M, C, column, scale,
    ROWS: tl.constexpr, D: tl.constexpr, KEYS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """A running softmax: values weighted by exp2(scores - their maximum) (ROWS, D), the maximum, the weights' sum."""
    highest = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    y = tl.zeros([ROWS, D], tl.float32)
    for first in range(0, M, KEYS):
        key = first + tl.arange(0, KEYS)
        k = _load(kv_ptr, image, M, key, 2 * C, column)
        v = _load(kv_ptr, image, M, key, 2 * C, C + column)
        scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale
        scores = tl.where((key < M)[None, :], scores, float("-inf"))
        higher = tl.maximum(highest, tl.max(scores, axis=1))
        shrink = tl.exp2(highest - higher)
        p = tl.exp2(scores - higher[:, None])
        total = total * shrink + tl.sum(p, axis=1)
        y = y * shrink[:, None] + tl.dot(p.to(v.dtype), v, input_precision=PRECISION)
        highest = higher
    return y, highest, total


@triton.jit
def _forward(
    q_ptr, kv_ptr, y_ptr, lse_ptr, N, M, heads, blocks, scale,
    D: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    image, head, row, column = _queries_of_program(heads, blocks, D, ROWS)
    C = heads * D
    q = _load(q_ptr, image, N, row, C, column)
    y, highest, total = attend_to_keys(q, kv_ptr, image, M, C, column, scale, ROWS, D, KEYS, PRECISION)
    _store(y_ptr, y / total[:, None], image, N, row, C, column)
    offset = (image.to(tl.int64) * N + row) * heads + head
    tl.store(lse_ptr + offset, highest + tl.log2(total), mask=row < N)


@triton.jit
def _probabilities(q, k, lse, is_pair, scale, PRECISION: tl.constexpr):
    """Attention weights again, from the logarithm (of base 2) of what the forward pass divided by."""
    scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale
    return tl.where(is_pair, tl.exp2(scores - lse[:, None]), 0.0)


@triton.jit
def _backward_queries(
    dy_ptr, q_ptr, kv_ptr, y_ptr, lse_ptr, dq_ptr, delta_ptr, N, M, heads, blocks, scale, score_scale,
    D: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    image, head, row, column = _queries_of_program(heads, blocks, D, ROWS)
    C = heads * D
    q = _load(q_ptr, image, N, row, C, column)
    dy = _load(dy_ptr, image, N, row, C, column)
    y = _load(y_ptr, image, N, row, C, column)
    offset = (image.to(tl.int64) * N + row) * heads + head
    lse = tl.load(lse_ptr + offset, mask=row < N, other=0.0)
    delta = tl.sum(dy.to(tl.float32) * y.to(tl.float32), axis=1)  # = the sum of p * dp over the keys
    tl.store(delta_ptr + offset, delta, mask=row < N)
    dq = tl.zeros([ROWS, D], tl.float32)
    for first in range(0, M, KEYS):
        key = first + tl.arange(0, KEYS)
        k = _load(kv_ptr, image, M, key, 2 * C, column)
        v = _load(kv_ptr, image, M, key, 2 * C, C + column)
        p = _probabilities(q, k, lse, (row < N)[:, None] & (key < M)[None, :], score_scale, PRECISION)
        dp = tl.dot(dy, tl.trans(v), input_precision=PRECISION)
        ds = p * (dp - delta[:, None]) * scale
        dq += tl.dot(ds.to(k.dtype), k, input_precision=PRECISION)
    _store(dq_ptr, dq, image, N, row, C, column)


@triton.jit
def _backward_keys(
    dy_ptr, q_ptr, kv_ptr, lse_ptr, delta_ptr, dkv_ptr, B, N, M, heads, blocks, share, scale, score_scale,
    D: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    head, block = tl.program_id(0) % heads, tl.program_id(0) // heads % blocks
    image = tl.program_id(0) // (heads * blocks) % B
    part = tl.program_id(0) // (heads * blocks * B)
    C = heads * D
    column = head * D + tl.arange(0, D)
    key = block * KEYS + tl.arange(0, KEYS)
    k = _load(kv_ptr, image, M, key, 2 * C, column)
    v = _load(kv_ptr, image, M, key, 2 * C, C + column)
    dk = tl.zeros([KEYS, D], tl.float32)
    dv = tl.zeros([KEYS, D], tl.float32)
    for first in range(part * share, min((part + 1) * share, N), ROWS):
        row = first + tl.arange(0, ROWS)
        q = _load(q_ptr, image, N, row, C, column)
        dy = _load(dy_ptr, image, N, row, C, column)
        offset = (image.to(tl.int64) * N + row) * heads + head
        lse = tl.load(lse_ptr + offset, mask=row < N, other=0.0)
        delta = tl.load(delta_ptr + offset, mask=row < N, other=0.0)
        p = _probabilities(q, k, lse, (row < N)[:, None] & (key < M)[None, :], score_scale, PRECISION)
        dv += tl.dot(tl.trans(p.to(dy.dtype)), dy, input_precision=PRECISION)
        dp = tl.dot(dy, tl.trans(v), input_precision=PRECISION)
        ds = p * (dp - delta[:, None]) * scale
        dk += tl.dot(tl.trans(ds.to(q.dtype)), q, input_precision=PRECISION)
    _store(dkv_ptr, dk, part * B + image, M, key, 2 * C, column)
    _store(dkv_ptr, dv, part * B + image, M, key, 2 * C, C + column)


@triton_op("twins::gsa", mutates_args={})
def gsa(q: Tensor, kv: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Softmax attention of N queries to M keys, heads side by side: (B, N, C) and (B, M, 2C) -> (B, N, C).

    `kv` holds every head's keys, then every head's values. Heads of 16, 32 or 64 channels; M is 1 or more. Second,
    for the backward pass, comes the logarithm (of base 2) of each softmax's denominator: (B, N, heads) in float32.
    """
    q, kv = q.contiguous(), kv.contiguous()
    (B, N, _), M, D = q.shape, kv.shape[1], q.shape[2] // heads
    y, lse = torch.empty_like(q), q.new_empty(B, N, heads, dtype=torch.float32)
    tile = key_tile(D, q.dtype)
    blocks = -(-N // tile.rows)
    with on_device_of(q):
        if q.numel():
            launchable(_forward)[(B * heads * blocks,)](
                q, kv, y, lse, N, M, heads, blocks, D**-0.5 * LOG2_E, D, tile.rows, tile.columns, float32_products(),
                num_warps=tile.warps, num_stages=tile.stages,
            )  # fmt: skip
    return y, lse


@triton_op("twins::gsa_backward", mutates_args={})
def _gsa_backward(dy: Tensor, q: Tensor, kv: Tensor, y: Tensor, lse: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Gradients w.r.t. the queries, and w.r.t. keys and values in parts (parts, B, M, 2C)."""
    dy, q, kv, y = dy.contiguous(), q.contiguous(), kv.contiguous(), y.contiguous()
    (B, N, _), M, D = q.shape, kv.shape[1], q.shape[2] // heads
    tile = key_tile(D, q.dtype)
    blocks, key_blocks = -(-N // tile.rows), -(-M // tile.columns)
    parts = max(1, min(blocks, _PROGRAMS // max(1, B * heads * key_blocks)))
    share = -(-blocks // parts) * tile.rows
    parts = -(-N // share) if N else 1
    dq, delta = torch.empty_like(q), torch.empty_like(lse)
    dkv = kv.new_empty(parts, *kv.shape, dtype=kv.dtype if parts == 1 else torch.float32)
    sizes = (D**-0.5, D**-0.5 * LOG2_E, D, tile.rows, tile.columns, float32_products())
    with on_device_of(q):
        if q.numel():
            launchable(_backward_queries)[(B * heads * blocks,)](
                dy, q, kv, y, lse, dq, delta, N, M, heads, blocks, *sizes,
                num_warps=tile.warps, num_stages=tile.stages,
            )  # fmt: skip
            launchable(_backward_keys)[(B * heads * key_blocks * parts,)](
                dy, q, kv, lse, delta, dkv, B, N, M, heads, key_blocks, share, *sizes,
                num_warps=tile.warps, num_stages=tile.stages,
            )  # fmt: skip
    return dq, dkv


def _save(ctx: Any, inputs: tuple[Tensor, Tensor, int], output: tuple[Tensor, Tensor]) -> None:
    q, kv, ctx.heads = inputs
    ctx.save_for_backward(q, kv, *output)
    ctx.mark_non_differentiable(output[1])


def gsa_gradients(dy: Tensor, q: Tensor, kv: Tensor, y: Tensor, lse: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """From the gradient w.r.t. the first output of `gsa` those w.r.t. the queries, and w.r.t. keys and values."""
    dq, parts = _gsa_backward(dy, q, kv, y, lse, heads)
    return dq, parts.sum(dim=0).to(kv.dtype)


def _gradients(ctx: Any, dy: Tensor, _: Tensor | None) -> tuple[Tensor, Tensor, None]:
    q, kv, y, lse = ctx.saved_tensors
    return *gsa_gradients(dy, q, kv, y, lse, ctx.heads), None


gsa.register_autograd(_gradients, setup_context=_save)

"""Tile shapes by width and dtype. Reckoned from registers and shared memory; not tuned on a card yet.

A table, not a search at run time: a program starts at once, and runs the same everywhere.
"""

from __future__ import annotations

from typing import NamedTuple

import torch


class Tile(NamedTuple):
    """Rows and columns (keys, hidden units, channels) that one program computes at a time; its warps and stages."""

    rows: int
    columns: int
    warps: int
    stages: int


def window_tile(head_size: int, dtype: torch.dtype) -> Tile:
    """A whole window at once: only warps and stages are used. There is no loop, hence nothing to stage."""
    return Tile(64, 64, 8 if dtype == torch.float32 and head_size > 32 else 4, 1)


def sublayer_tile(width: int, dtype: torch.dtype) -> Tile:
    """A window, or 64 queries, with all channels and 64 keys at a time; a head's weights come while one computes."""
    return Tile(64, 64, 8, 1) if dtype == torch.float32 else Tile(64, 64, 4, 2)


def key_tile(head_size: int, dtype: torch.dtype) -> Tile:
    """Queries and keys of sub-sampled attention: 49 keys, the usual case, are one block."""
    return Tile(64, 64, 8 if dtype == torch.float32 and head_size > 32 else 4, 1 if dtype == torch.float32 else 2)


def mlp_tile(width: int, dtype: torch.dtype) -> Tile:
    """Tokens, hidden units a chunk. Both weights' chunks and the tokens share 100 KB or less (CUDA 8.6, 8.9)."""
    if dtype == torch.float32:
        return Tile(32, 32, 4, 1)
    return Tile(128, 64, 8, 2) if width <= 64 else Tile(64, 64, 4, 2)


def mlp_backward_tile(width: int, dtype: torch.dtype) -> Tile:
    """As `mlp_tile` with two accumulators, of hidden units and of the map, hence fewer rows."""
    if dtype == torch.float32:
        return Tile(16, 32, 4, 1)
    return Tile(64, 64, 8, 1) if width <= 64 else Tile(32, 64, 4, 1)


def norm_tile(width: int) -> Tile:
    """Whole tokens, 4,096 numbers of them: 32 a thread."""
    return Tile(max(1, 4096 // power_of_two(width)), width, 4, 1)


NORM_STEPS = 8  # blocks of rows whose share in the gradients of weight and bias one program sums
PEG_TILE = Tile(rows=32, columns=64, warps=4, stages=1)
PEG_STEPS = 32  # blocks of rows whose share in the weights' gradient one program sums


def power_of_two(size: int) -> int:
    """The least power of two that holds `size` and that a matrix product takes (16 or more)."""
    return max(16, 1 << (size - 1).bit_length())

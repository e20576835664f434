"""Attention rollout: what reaches the network's end from where, if all attention is followed back to the first map."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from .block_attention import BlockAttention
from .patches import spread_over_patches


def attention_rollout(blocks: Sequence[BlockAttention], at: tuple[int, int] | None = None) -> Tensor:
    """(B, H_0, W_0): the share that each token of the first map has in the last one; see `AttentionMaps.rollout`."""
    last = blocks[-1]
    batch, (height, width) = len(last.queries), last.size
    if at is None:
        share = last.queries.new_full((batch, height, width), 1 / (height * width))
    else:
        last.check_token(*at)
        share = last.queries.new_zeros(batch, height, width)
        share[:, at[0], at[1]] = 1
    later = last
    for block in reversed(blocks):
        if block.stage != later.stage:
            share = spread_over_patches(share, later.stride // block.stride, block.size)
        of_heads = share[:, None].expand(-1, block.heads, -1, -1)
        share = (share + block.propagate(of_heads).mean(dim=1)) / 2  # the residual is half of what a token holds
        later = block
    return share

"""What GSA attends to: each token, the cells of the sub-sampled map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from .. import ops
from ..model import GlobalSubsampledAttention
from ..preprocessing import Size
from .block_attention import BlockAttention, probabilities
from .patches import spread_over_patches

QUERIES_AT_ONCE = 4096  # of a large image's 10^5, whose weights together would fill a gigabyte


@dataclass(frozen=True, eq=False)
class GlobalAttention(BlockAttention):
    """GSA, observed; see `BlockAttention`. Queries are (B, heads, N, D), N = H W; keys and values (B, heads, M, D).

    The M = h w keys are the cells of a map that a convolution has sub-sampled `sr_ratio` times along both axes (1: not
    at all), row by row. On the map of tokens, a key's weight is split evenly among those that its cell was made of.
    """

    sr_ratio: int
    key_size: Size  # (h, w)

    kind = "GSA"

    @classmethod
    def observed(
        cls, attention: GlobalSubsampledAttention, x_BHWC: Tensor, norm: nn.Module, stage: int, index: int, stride: int
    ) -> Self:
        """Of the module and what it is called with."""
        _, H, W, C = x_BHWC.shape
        x = norm(x_BHWC)
        sr, sr_norm = attention.sr, attention.norm
        x_sr = x if sr is None or sr_norm is None else ops.patch_embed(x, sr, sr_norm)
        by_head = (attention.heads, C // attention.heads)
        queries = attention.q(x).flatten(1, 2).unflatten(2, by_head).transpose(1, 2)
        keys, values = attention.kv(x_sr).flatten(1, 2).unflatten(2, (2, *by_head)).permute(2, 0, 3, 1, 4)
        queries, keys, values = queries.float(), keys.float(), values.float()
        sr_ratio = 1 if sr is None else sr.stride[0]
        key_size = (x_sr.shape[1], x_sr.shape[2])
        return cls(stage, index, (H, W), stride, queries, keys, values, sr_ratio, key_size)

    def weights(self) -> Tensor:
        """(B, heads, N, M) probabilities, the last axis the keys'."""
        return probabilities(self.queries, self.keys)

    def of_token(self, row: int, column: int) -> Tensor:
        self.check_token(row, column)
        token = row * self.size[1] + column
        return self._on_map(probabilities(self.queries[:, :, token : token + 1], self.keys)[:, :, 0])

    def padded_share(self) -> Tensor:
        """(B, heads, H, W) of zeros: no key is padding."""
        return self.queries.new_zeros(*self.queries.shape[:2], *self.size)

    def propagate(self, share_BhHW: Tensor) -> Tensor:
        some = zip(
            share_BhHW.flatten(2)[:, :, None].split(QUERIES_AT_ONCE, dim=3),
            self.queries.split(QUERIES_AT_ONCE, dim=2),
            strict=True,
        )
        to_keys = torch.stack([share @ probabilities(queries, self.keys) for share, queries in some]).sum(dim=0)
        return self._on_map(to_keys[:, :, 0])

    def _on_map(self, of_keys: Tensor) -> Tensor:
        """(B, heads, M) -> (B, heads, H, W)."""
        return spread_over_patches(of_keys.unflatten(2, self.key_size), self.sr_ratio, self.size)

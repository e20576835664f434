"""What the two attentions of Twins have in common once they are observed in a block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..errors import TwinsError
from ..preprocessing import Size


@dataclass(frozen=True, eq=False)
class BlockAttention(ABC):
    """The attention of one block for a batch, recomputed from the block's input and its own parameters; all in float32.

    Attributes
    ----------
    kind:
        "LSA", within windows, or "GSA", to a sub-sampled map.
    stage, index:
        The block is `model.blocks[stage][index]`, both from 0.
    size:
        (H, W) of the map, in tokens.
    stride:
        Height and width of what a token stands for, in pixels of the network's input: 4, 8, 16 or 32.
    queries, keys, values:
        Of every head, D channels each: (B, heads, windows, T, D) of LSA, (B, heads, N or M, D) of GSA.
    """

    stage: int
    index: int
    size: Size
    stride: int
    queries: Tensor
    keys: Tensor
    values: Tensor

    kind: ClassVar[str]

    @property
    def name(self) -> str:
        """That of the block within the network's stages, as "blocks.2.9"."""
        return f"blocks.{self.stage}.{self.index}"

    @property
    def heads(self) -> int:
        return self.queries.shape[1]

    @abstractmethod
    def weights(self) -> Tensor:
        """The attention probabilities; over the last axis, the keys', they add up to 1."""

    @abstractmethod
    def of_token(self, row: int, column: int) -> Tensor:
        """(B, heads, H, W): to which tokens of the map the token at `row`, `column` attends, in shares of 1."""

    @abstractmethod
    def padded_share(self) -> Tensor:
        """(B, heads, H, W): how much of each token's attention goes to padded tokens, which are not on the map."""

    @abstractmethod
    def propagate(self, share_BhHW: Tensor) -> Tensor:
        """(B, heads, H, W) -> the same: each token hands its share on to the tokens that it attends to.

        That is the row vector `share` times the matrix of attention from token to token. What goes to padded tokens is
        lost, else the sum stays.
        """

    def mean(self) -> Tensor:
        """(B, heads, H, W): the attention that each token of the map gets, as the mean over all tokens' `of_token`."""
        height, width = self.size
        uniform = self.queries.new_full((len(self.queries), self.heads, height, width), 1 / (height * width))
        return self.propagate(uniform)

    def token_at(self, row: float, column: float) -> tuple[int, int]:
        """The token (row, column) of a pixel of the network's input; the nearest one where the pixel was left over."""
        height, width = self.size
        return min(int(row) // self.stride, height - 1), min(int(column) // self.stride, width - 1)

    def check_token(self, row: int, column: int) -> None:
        """Raises TwinsError for a token that is not on the map."""
        height, width = self.size
        if not (0 <= row < height and 0 <= column < width):
            raise TwinsError(f"{self.name}: no token at row {row}, column {column}: its map has {height} x {width}")


def probabilities(queries: Tensor, keys: Tensor, real_keys: Tensor | None = None) -> Tensor:
    """softmax(Q K^T / sqrt(D)): (..., Q, D) queries and (..., K, D) keys -> (..., Q, K); only over real keys if given.

    `real_keys` is of bool and broadcasts to the output.
    """
    scores = queries @ keys.transpose(-2, -1) * queries.shape[-1] ** -0.5
    if real_keys is not None:
        scores = scores.masked_fill(~real_keys, -torch.inf)
    return scores.softmax(dim=-1)

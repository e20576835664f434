"""What LSA attends to: each token, the tokens of its window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..model import LocallyGroupedAttention
from ..ops.geometry import window_overhang
from ..preprocessing import Size
from .block_attention import BlockAttention, probabilities


@dataclass(frozen=True)
class WindowGrid:
    """Windows of `window` x `window` tokens over a map of `size`; the last ones may stick out."""

    size: Size
    window: int

    @property
    def rows(self) -> int:
        return -(-self.size[0] // self.window)

    @property
    def columns(self) -> int:
        return -(-self.size[1] // self.window)

    def split(self, x: Tensor) -> Tensor:
        """(..., H, W) -> (..., windows, T), row by row, with zeros where a window sticks out of the map."""
        below, beside = (-side % self.window for side in self.size)
        x = F.pad(x, (0, beside, 0, below))
        x = x.unflatten(-1, (self.columns, self.window)).unflatten(-3, (self.rows, self.window))
        return x.transpose(-3, -2).flatten(-2).flatten(-3, -2)

    def join(self, x: Tensor) -> Tensor:
        """(..., windows, T) -> (..., H, W): `split` undone."""
        x = x.unflatten(-1, (self.window, self.window)).unflatten(-3, (self.rows, self.columns))
        return x.transpose(-3, -2).flatten(-2).flatten(-3, -2)[..., : self.size[0], : self.size[1]]

    def position(self, row: int, column: int) -> tuple[int, int]:
        """A token's window, and its index in there."""
        window = row // self.window * self.columns + column // self.window
        return window, row % self.window * self.window + column % self.window


@dataclass(frozen=True, eq=False)
class LocalAttention(BlockAttention):
    """LSA, observed; see `BlockAttention`. Queries, keys and values are (B, heads, windows, T, D), T = window^2.

    Windows come row by row from the top left, and so do the tokens in each. Where windows stick out of the map, T
    counts padded tokens: as queries they mean nothing; as keys they have weight 0 if the network masks them
    (`masked`), else they take their share, see `padded_share`.
    """

    grid: WindowGrid
    masked: bool

    kind = "LSA"

    @classmethod
    def observed(
        cls, attention: LocallyGroupedAttention, x_BHWC: Tensor, norm: nn.Module, stage: int, index: int, stride: int
    ) -> Self:
        """Of the module and what it is called with."""
        _, H, W, C = x_BHWC.shape
        grid = WindowGrid((H, W), attention.window)
        below, beside, masked = window_overhang(H, W, attention.window, attention.padding)
        qkv = attention.qkv(F.pad(norm(x_BHWC), (0, 0, 0, beside, 0, below)))
        whole = WindowGrid((H + below, W + beside), attention.window)
        windows = whole.split(qkv.movedim(3, 1)).unflatten(1, (3, attention.heads, C // attention.heads))
        queries, keys, values = windows.float().movedim(3, 5).unbind(1)  # each (B, heads, windows, T, D)
        return cls(stage, index, (H, W), stride, queries, keys, values, grid, masked)

    def weights(self) -> Tensor:
        """(B, heads, windows, T, T) probabilities, the last axis the keys'."""
        return probabilities(self.queries, self.keys, self._real_keys())

    def of_token(self, row: int, column: int) -> Tensor:
        self.check_token(row, column)
        window, token = self.grid.position(row, column)
        query, keys = self.queries[:, :, window, token : token + 1], self.keys[:, :, window]
        real = self._real_keys()
        in_window = probabilities(query, keys, None if real is None else real[window])
        windows = self.queries.new_zeros(*self.queries.shape[:4])
        windows[:, :, window] = in_window[:, :, 0]
        return self.grid.join(windows)

    def padded_share(self) -> Tensor:
        to_padding = self.weights() @ (~self._real_tokens()).to(self.queries.dtype)[..., None]
        return self.grid.join(to_padding[..., 0])

    def propagate(self, share_BhHW: Tensor) -> Tensor:
        in_windows = self.grid.split(share_BhHW)[..., None, :] @ self.weights()
        return self.grid.join(in_windows[..., 0, :])

    def _real_tokens(self) -> Tensor:
        """(windows, T) of bool: which tokens of the windows are on the map."""
        return self.grid.split(torch.ones(self.size, dtype=torch.bool, device=self.queries.device))

    def _real_keys(self) -> Tensor | None:
        """(windows, 1, T) of bool: which keys take part; None where all do."""
        return self._real_tokens()[:, None] if self.masked else None

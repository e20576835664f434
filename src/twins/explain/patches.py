"""What a cell of a coarser map stands for on the finer map that it was made of."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ..preprocessing import Size


def spread_over_patches(share: Tensor, patch: int, size: Size) -> Tensor:
    """(..., h, w) -> (..., H, W) = `size`: each cell's share, split evenly among the tokens of its `patch` x `patch`.

    It undoes a convolution whose kernel and stride are `patch`: tokens left over at the bottom and the
    right, which no cell saw, get 0, and where an axis is shorter than the patch, its tokens share what there is.
    """
    height, width = size
    rows, columns = min(patch, height), min(patch, width)
    spread = share.repeat_interleave(rows, dim=-2).repeat_interleave(columns, dim=-1) / (rows * columns)
    return F.pad(spread, (0, width - spread.shape[-1], 0, height - spread.shape[-2]))

"""The masks of the objects in one image, rasterised no further than they are looked at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...preprocessing import Size
from .segmentations import Segmentation, box_of, rle_of, run_ends

NOTHING: Segmentation = (np.zeros(2),)  # a polygon of one point


class ObjectMasks:
    """N masks of an image of H x W pixels: stands for the tensor (N, H, W), uint8 of 0 and 1, without holding it.

    Of 60 objects in 24 megapixels that tensor takes 1.4 GB, and training sees a twentieth of its pixels, each of which
    is one of the mask's own. So masks are kept as runs of equal pixels, and only the box around each is ever
    rasterised. `masks[2]` and `masks[2, 10:20]` are parts of the tensor; anything else is asked of the whole of it.
    """

    ndim = 3

    def __init__(self, size: Size, segmentations: Iterable[Segmentation | None] = ()) -> None:
        self.size = size
        self.masks: list[_Runs] = []
        for segmentation in segmentations:
            self.append(segmentation)

    def append(self, segmentation: Segmentation | None) -> None:
        """One more; without a segmentation an empty one. Raises ValueError or RuntimeError as `run_ends` does."""
        self.masks.append(_Runs(segmentation or NOTHING, self.size))

    def __len__(self) -> int:
        return len(self.masks)

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self), *self.size))

    def numel(self) -> int:
        return self.shape.numel()

    def cpu(self) -> ObjectMasks:
        return self

    @property
    def extents(self) -> np.ndarray:
        """(N, 4) int64: x0, y0, x1, y1 of the box around each mask's pixels; zeros where it has none."""
        return np.array([mask.extent for mask in self.masks], dtype=np.int64).reshape(-1, 4)

    def meet(self, boxes: np.ndarray) -> np.ndarray:
        """(N,) bool: whether each mask has pixels, and the box around them some area in common with its own box.

        `boxes` are (N, 4) x0, y0, x1, y1.
        """
        extents = self.extents
        common = np.minimum(extents[:, 2:], boxes[:, 2:]) - np.maximum(extents[:, :2], boxes[:, :2])
        return (common > 0).all(axis=1)

    def seen(self, rows: np.ndarray, columns: np.ndarray, which: Sequence[int]) -> np.ndarray:
        """(objects, rows, columns) uint8: these rows and columns of the masks at the indices `which`.

        Rows and columns are in ascending or in descending order, and may be there several times.
        """
        masks = np.zeros((len(which), len(rows), len(columns)), dtype=np.uint8)
        for mask, index in zip(masks, which, strict=True):
            self.masks[index].rasterise(rows, columns, mask)
        return masks

    def tensor(self, which: Sequence[int] | None = None) -> Tensor:
        """All of the masks at the indices `which`, or of every one."""
        height, width = self.size
        which = range(len(self)) if which is None else which
        return torch.from_numpy(self.seen(np.arange(height), np.arange(width), which))

    def __getitem__(self, index: Any) -> Tensor:
        first, *rest = index if isinstance(index, tuple) else (index,)
        if first is None or first is ...:
            return self.tensor()[index]
        which = np.arange(len(self))[first]
        return self.tensor(np.atleast_1d(which).tolist())[(slice(None) if which.ndim else 0, *rest)]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # of the object's own, as pickle looks for them before there is anything else
            raise AttributeError(name)
        return getattr(self.tensor(), name)


class _Runs:
    """One mask as runs of equal pixels, of 0, 1, 0 ... down the columns, which is how COCO's RLE has it."""

    def __init__(self, segmentation: Segmentation, size: Size) -> None:
        self.rle, self.size = rle_of(segmentation, size), size
        x, y, width, height = map(int, box_of(self.rle, size))
        self.extent = (x, y, x + width, y + height)  # of the pixels inside
        if isinstance(segmentation, dict):  # a file's own, which may mean nothing
            self.ends = run_ends(self.rle, size)

    @cached_property
    def ends(self) -> np.ndarray:
        """(runs,) int64: see `run_ends`."""
        return run_ends(self.rle, self.size)

    def rasterise(self, rows: np.ndarray, columns: np.ndarray, mask: np.ndarray) -> None:
        """Write the ones among these rows and columns into `mask`, (rows, columns) of zeros."""
        (x0, y0, x1, y1), height = self.extent, self.size[0]
        across, down = _between(columns, x0, x1), _between(rows, y0, y1)
        if across.start < across.stop and down.start < down.stop:
            start, stop = x0 * height, x1 * height
            lengths = np.diff(self.ends[:-1].clip(start, stop), prepend=start, append=stop)
            pixels = np.repeat(np.arange(len(lengths), dtype=np.uint8) & 1, lengths).reshape(x1 - x0, height)
            mask[down, across] = pixels.take(columns[across] - x0, axis=0).take(rows[down], axis=1).T


def _between(positions: np.ndarray, first: int, end: int) -> slice:
    """Which of these positions, in ascending or descending order, lie from `first` on and before `end`."""
    inside = np.flatnonzero((positions >= first) & (positions < end))
    return slice(int(inside[0]), int(inside[-1]) + 1) if len(inside) else slice(0, 0)

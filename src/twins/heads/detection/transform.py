"""From images as they come to one batch, and from detections in the batch back to the images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor

from ...preprocessing import fitted_size
from .boxes import Size

Target = dict[str, Any]  # boxes (N, 4), labels (N,), perhaps masks (N, H, W)


MULTIPLE = 32  # sides of a batch: whole cells of the backbone's last map


class ImageList(NamedTuple):
    """Images made ready, each at the top left of its place in the batch, zeros around it."""

    tensors: Tensor  # (B, C, H, W)
    sizes: list[Size]  # of each image in the batch
    sizes_before: list[Size]  # of each as it came
    ratios: list[Tensor]  # (4,): by how much x, y, x, y have grown since

    @property
    def padded_sizes(self) -> list[Size]:
        """What each would be filled up to if it were alone in the batch."""
        return [(_whole_cells(height), _whole_cells(width)) for height, width in self.sizes]


class DetectorTransform(NamedTuple):
    """How images are made ready: resized to fit, normalised, and filled up to whole cells of the coarsest stage."""

    min_size: int  # shortest side
    max_size: int  # longest side at most
    mean: Sequence[float]
    std: Sequence[float]

    def __call__(self, images: Sequence[Tensor], resize: bool = True) -> ImageList:
        """(C, h, w) floats in [0, 1], of any sizes; without `resize` they keep them."""
        before = [(image.shape[1], image.shape[2]) for image in images]
        sizes = [self.size_of(image) if resize else size for image, size in zip(images, before, strict=True)]
        height, width = (_whole_cells(max(side)) for side in zip(*sizes, strict=True))
        batch = images[0].new_zeros(len(images), images[0].shape[0], height, width)
        mean, std = (batch.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        for place, image, size in zip(batch, images, sizes, strict=True):
            place[:, : size[0], : size[1]] = (_resized(image, size) - mean) / std
        ratios = [
            batch.new_tensor([new[1] / old[1], new[0] / old[0]] * 2) for new, old in zip(sizes, before, strict=True)
        ]
        return ImageList(batch, sizes, before, ratios)

    def size_of(self, image: Tensor) -> Size:
        """What an image is resized to."""
        return fitted_size((image.shape[1], image.shape[2]), (self.max_size, self.min_size))


def resized_targets(targets: Sequence[Target], image_list: ImageList) -> list[Target]:
    """The same objects where they are in the images made ready."""
    moved = []
    for target, ratio, size in zip(targets, image_list.ratios, image_list.sizes, strict=True):
        moved.append({**target, "boxes": target["boxes"].to(ratio.dtype) * ratio})
        if (masks := target.get("masks")) is not None and masks.shape[1:] != size:
            moved[-1]["masks"] = F.interpolate(masks[:, None].float(), size=size)[:, 0].to(masks.dtype)
    return moved


def _whole_cells(side: int) -> int:
    return math.ceil(side / MULTIPLE) * MULTIPLE


def _resized(image: Tensor, size: Size) -> Tensor:
    """Bilinear without antialias, which samples where OpenCV does, by which the published networks learned."""
    if image.shape[1:] == size:
        return image
    return F.interpolate(image[None], size=size, mode="bilinear", align_corners=False)[0]

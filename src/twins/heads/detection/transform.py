"""From images of any sizes to one batch, and from targets in the images to targets in the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor

from ...preprocessing import Size, fitted_size

Target = dict[str, Any]  # boxes (N, 4), labels (N,), perhaps masks (N, H, W) and has_mask (N,)

DIVISOR = 32  # of the sides of a batch: whole cells of the backbone's last map


class ImageList(NamedTuple):
    """B images in one batch, each at its top left, zeros at its right and bottom."""

    tensors: Tensor  # (B, C, H, W)
    image_sizes: list[Size]  # of each in the batch, without the zeros
    original_image_sizes: list[Size]  # of each as it came
    scale_factors: list[Tensor]  # (4,) each: by how much x, y, x, y have grown since

    @property
    def padded_sizes(self) -> list[Size]:
        """What each would be padded to if it were alone in the batch."""
        return [(whole_cells(height), whole_cells(width)) for height, width in self.image_sizes]


class DetectorTransform(NamedTuple):
    """How images become a batch: resized to fit, normalised, and padded to whole cells of the coarsest stage."""

    min_size: int  # pixels: shortest side
    max_size: int  # pixels: longest side at most
    mean: Sequence[float]  # one number a channel, as std
    std: Sequence[float]

    def __call__(self, images: Sequence[Tensor], resize: bool = True) -> ImageList:
        """(C, h, w) floats in [0, 1], of any sizes; without `resize` they keep them."""
        before = [(image.shape[1], image.shape[2]) for image in images]
        sizes = [self.resized_size(size) if resize else size for size in before]
        height, width = (whole_cells(max(side)) for side in zip(*sizes, strict=True))
        batch = images[0].new_zeros(len(images), images[0].shape[0], height, width)
        for padded, image, size in zip(batch, images, sizes, strict=True):
            padded[:, : size[0], : size[1]] = self.normalised(_resized(image, size))
        scale_factors = [
            batch.new_tensor([new[1] / old[1], new[0] / old[0]] * 2) for new, old in zip(sizes, before, strict=True)
        ]
        return ImageList(batch, sizes, before, scale_factors)

    def normalised(self, images: Tensor) -> Tensor:
        """(..., C, H, W) in [0, 1], less the mean, divided by the deviation of each channel."""
        mean, std = (images.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (images - mean) / std

    def resized_size(self, size: Size) -> Size:
        """What an image of this size is resized to."""
        return fitted_size(size, (self.max_size, self.min_size))


def resized_targets(targets: Sequence[Target], image_list: ImageList) -> list[Target]:
    """The same objects where they are in the batch."""
    resized = []
    for target, scale, size in zip(targets, image_list.scale_factors, image_list.image_sizes, strict=True):
        resized.append({**target, "boxes": target["boxes"].to(scale.dtype) * scale})
        if (masks := target.get("masks")) is not None and masks.shape[1:] != size:
            resized[-1]["masks"] = F.interpolate(masks[:, None].float(), size=size)[:, 0].to(masks.dtype)
    return resized


def whole_cells(side: int) -> int:
    """The side of a batch that holds an image with this one."""
    return (side + DIVISOR - 1) // DIVISOR * DIVISOR


def _resized(image: Tensor, size: Size) -> Tensor:
    """Bilinear without antialias, which samples where OpenCV does, by which the published networks learned."""
    if image.shape[1:] == size:
        return image
    return F.interpolate(image[None], size=size, mode="bilinear", align_corners=False)[0]

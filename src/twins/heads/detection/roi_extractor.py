"""What the pyramid shows of each box, at one size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...optional_dependencies import need
from .anchor_head import at_least_float32
from .boxes import has_area, pyramid_level


def roi_align(maps: Sequence[Tensor], boxes: Sequence[Tensor], size: int) -> Tensor:
    """The features of each box: maps at strides 4, 8, ... and (N_i, 4) boxes an image -> (sum of N_i, C, size, size).

    A box reads the one level that suits its size (`pyramid_level`). RoIAlign (He et al., 1703.06870) with half-pixel
    centres, and as many samples a cell as the box has pixels there.
    """
    all_boxes = torch.cat(list(boxes))
    image = torch.cat([of_image.new_full((len(of_image), 1), i) for i, of_image in enumerate(boxes)])
    rois = torch.cat([image, all_boxes], dim=1)
    level_of = pyramid_level(all_boxes, len(maps))
    by_level = [(level_of == level).nonzero().flatten() for level in range(len(maps))]
    pooled = [
        _read_level(level, x_BCHW, rois[indices], size)
        for level, (x_BCHW, indices) in enumerate(zip(maps, by_level, strict=True))
    ]
    return torch.cat(pooled)[torch.cat(by_level).argsort()].to(maps[0].dtype)


def roi_align_everywhere(maps: Sequence[Tensor], boxes: Tensor, size: int) -> Tensor:
    """The same for (B, N, 4) boxes, by shapes that do not depend on them: (B x N, C, size, size).

    Each level is read for every box; a box that is another level's is empty there, and quickly read. Of an empty box
    PyTorch reads 0, other runtimes nothing that is a number: that is not looked at.
    """
    images, count = boxes.shape[:2]
    all_boxes = boxes.flatten(0, 1)
    image = torch.arange(images, device=boxes.device, dtype=boxes.dtype)[:, None].expand(images, count).reshape(-1, 1)
    level_of = pyramid_level(all_boxes, len(maps)).where(has_area(all_boxes), -1)[:, None]
    pooled = torch.zeros((), device=boxes.device, dtype=boxes.dtype)
    for level, x_BCHW in enumerate(maps):
        here = level_of == level
        rois = torch.cat([image, torch.where(here, all_boxes, 0)], dim=1)
        pooled = torch.where(here[:, :, None, None], _read_level(level, x_BCHW, rois, size), pooled)
    return pooled.to(maps[0].dtype)


def _read_level(level: int, x_BCHW: Tensor, rois: Tensor, size: int) -> Tensor:
    """(N, 5) rois, each the index of an image and a box, -> (N, C, size, size)."""
    torchvision_roi_align = need("torchvision.ops", extra="detect").roi_align
    features: Tensor = torchvision_roi_align(
        at_least_float32(x_BCHW), rois, size, spatial_scale=1 / 2 ** (level + 2), sampling_ratio=0, aligned=True
    )
    return features

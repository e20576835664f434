"""Masks of objects: the mask head's targets inside a box, and its predictions put back into the image."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ...optional_dependencies import need
from ...preprocessing import Size

THRESHOLD = 0.5


def mask_targets(masks: Tensor, boxes: Tensor, objects: Tensor, size: int) -> Tensor:
    """(objects, H, W) masks -> (N, size, size) of bool: what each of (N, 4) boxes shows of its object.

    `objects` (N,) are indices of the masks.
    """
    rois = torch.cat([objects[:, None].to(boxes.dtype), boxes], dim=1)
    roi_align = need("torchvision.ops", extra="detect").roi_align
    cropped = roi_align(masks[:, None].to(boxes.dtype), rois, size, aligned=True)
    return cropped[:, 0] >= THRESHOLD


def paste_masks(probabilities: Tensor, boxes: Tensor, size: Size) -> Tensor:
    """(N, M, M) probabilities inside (N, 4) boxes -> (N, 1, H, W) of bool in an image of this size.

    A pixel's probability is interpolated where its centre falls on the mask; outside the box it is zero.
    """
    height, width = size
    pasted = torch.zeros(len(probabilities), 1, height, width, dtype=torch.bool, device=probabilities.device)
    for image, mask, box, (x0, y0, x1, y1) in zip(pasted, probabilities, boxes, boxes.tolist(), strict=True):
        # Only the pixels that the box touches: images are large, and objects small.
        columns = slice(max(math.floor(x0), 0), min(math.ceil(x1), width))
        rows = slice(max(math.floor(y0), 0), min(math.ceil(y1), height))
        if columns.start < columns.stop and rows.start < rows.stop and x0 < x1 and y0 < y1:
            across, down = _centres(columns, box[0], box[2]), _centres(rows, box[1], box[3])
            grid = torch.stack(torch.meshgrid(across, down, indexing="xy"), dim=-1)
            inside = F.grid_sample(mask[None, None], grid[None], align_corners=False)
            image[:, rows, columns] = inside[0] >= THRESHOLD
    return pasted


def _centres(pixels: slice, first: Tensor, last: Tensor) -> Tensor:
    """Where the pixels' centres lie between the sides of a box, at -1 and 1."""
    centres = torch.arange(pixels.start, pixels.stop, device=first.device, dtype=first.dtype) + 0.5
    return (centres - first) / (last - first) * 2 - 1

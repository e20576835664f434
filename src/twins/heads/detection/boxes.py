"""Boxes: where anchors stand, how a box is told as a change of another, what belongs to which object, what to keep.

A box is x0, y0, x1, y1 in pixels, its width x1 - x0. The conventions are OpenMMLab's, by which the published detectors
were trained; torchvision's differ: it rounds anchors, takes strides from the maps' sizes, bounds growth alone and not
shrinking, and gives what an object overlaps best, at equal overlap, to another one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ...optional_dependencies import need

Size = tuple[int, int]  # height, width

RATIOS = (0.5, 1.0, 2.0)  # of anchors, height over width
LARGEST_CHANGE = math.log(1000 / 16)  # of the logarithm of a side, either way
BACKGROUND, BETWEEN = -1, -2  # what an anchor without an object is: none, or too near to one to say


def make_anchors(
    sizes: Sequence[Size],
    strides: Sequence[int],
    scales: Sequence[float],
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> list[Tensor]:
    """The anchors of maps of these sizes: (H x W x ratios x scales, 4) for each level, row by row.

    Their centres are the multiples of the stride, their sides scale x stride where the ratio is 1 and of the same area
    else. Nothing is rounded.
    """
    levels = []
    for (height, width), stride in zip(sizes, strides, strict=True):
        stretch = torch.tensor(RATIOS, device=device, dtype=dtype).sqrt()[:, None]
        side = stride * torch.tensor(scales, device=device, dtype=dtype)
        halves = torch.stack([side / stretch, side * stretch], dim=-1).reshape(-1, 2) / 2
        around_0 = torch.cat([-halves, halves], dim=1)
        y, x = torch.meshgrid(
            *(torch.arange(count, device=device, dtype=dtype) * stride for count in (height, width)), indexing="ij"
        )
        centres = torch.stack([x, y, x, y], dim=-1).reshape(-1, 1, 4)
        levels.append((centres + around_0).reshape(-1, 4))
    return levels


def inside_image(image: Size, sizes: Sequence[Size], strides: Sequence[int]) -> Tensor:
    """Which places of maps of these sizes stand in an image, of which they may show more: (all places,) of bool."""
    inside = []
    for (height, width), stride in zip(sizes, strides, strict=True):
        row, column = torch.arange(height) * stride < image[0], torch.arange(width) * stride < image[1]
        inside.append((row[:, None] & column).flatten())
    return torch.cat(inside)


def encode(boxes: Tensor, anchors: Tensor, deviations: Sequence[float] = (1, 1, 1, 1)) -> Tensor:
    """(..., 4) boxes as changes of (..., 4) anchors: of the centre in sides, of the sides as logarithms.

    Changes are divided by `deviations`, which are about what they deviate by.
    """
    (centres, sides), (anchor_centres, anchor_sides) = _centres_and_sides(boxes), _centres_and_sides(anchors)
    changes = torch.cat([(centres - anchor_centres) / anchor_sides, (sides / anchor_sides).log()], dim=-1)
    return changes / changes.new_tensor(deviations)


def decode(
    changes: Tensor, anchors: Tensor, size: Size | None = None, deviations: Sequence[float] = (1, 1, 1, 1)
) -> Tensor:
    """The boxes, (..., 4), that `encode` tells as these changes of anchors; cut off at an image of `size`."""
    anchor_centres, anchor_sides = _centres_and_sides(anchors)
    shift, growth = (changes * changes.new_tensor(deviations)).split(2, dim=-1)
    centres = anchor_centres + shift * anchor_sides
    halves = anchor_sides * growth.clamp(-LARGEST_CHANGE, LARGEST_CHANGE).exp() / 2
    boxes = torch.cat([centres - halves, centres + halves], dim=-1)
    return boxes if size is None else clip(boxes, size)


def clip(boxes: Tensor, size: Size) -> Tensor:
    """The part of each box, (..., 4), that lies in an image of this size."""
    height, width = size
    return boxes.clamp(min=0).minimum(boxes.new_tensor([width, height, width, height]))


def has_area(boxes: Tensor) -> Tensor:
    """(..., 4) -> (...) of bool."""
    return (boxes[..., 2:] > boxes[..., :2]).all(dim=-1)


def overlaps(boxes: Tensor, others: Tensor) -> Tensor:
    """(M, 4) and (N, 4) boxes -> (M, N): intersection over union."""
    return need("torchvision.ops", extra="detect").box_iou(boxes, others)


def assign(ious: Tensor, positive: float, negative: float, low_quality: float | None = None) -> Tensor:
    """The object of each anchor: (objects, anchors) overlaps -> (anchors,) numbers, BACKGROUND or BETWEEN.

    An anchor goes to the object that it overlaps most, if that is by `positive` at least; by less than `negative` it
    is background. With `low_quality` an object also gets the anchors that overlap it most of all, if by that much, so
    that none goes without; the last of several such objects does.
    """
    objects, anchors = ious.shape
    if not ious.numel():
        return ious.new_full((anchors,), BACKGROUND, dtype=torch.long)
    most, assigned = ious.max(dim=0)
    assigned[most < positive] = BETWEEN
    assigned[most < negative] = BACKGROUND
    if low_quality is not None:
        most_of_object = ious.amax(dim=1, keepdim=True)
        closest = (ious == most_of_object) & (most_of_object >= low_quality) & (most_of_object > 0)
        numbers = torch.arange(objects, device=ious.device)[:, None]
        last = torch.where(closest, numbers, BACKGROUND).amax(dim=0)
        assigned = torch.where(last >= 0, last, assigned)
    return assigned


def sample(assigned: Tensor, count: int, positive_share: float) -> tuple[Tensor, Tensor]:
    """Up to `count` places among the assigned, at random: (those of objects, up to that share, those of background)."""
    positive = _some((assigned >= 0).nonzero().flatten(), int(count * positive_share))
    negative = _some((assigned == BACKGROUND).nonzero().flatten(), count - len(positive))
    return positive, negative


def best_apart(boxes: Tensor, scores: Tensor, groups: Tensor, iou: float, most: int) -> Tensor:
    """Places of the best boxes, best first: of two in a group that overlap by more than `iou` the better one stays."""
    return need("torchvision.ops", extra="detect").batched_nms(boxes, scores, groups, iou)[:most]


def pyramid_level(boxes: Tensor, levels: int = 4) -> Tensor:
    """(N, 4) -> (N,): which level, 0 the finest, shows what lies in a box; each doubling from 112 goes one up.

    Lin et al., 1612.03144, equation 1.
    """
    sides = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1).sqrt()
    return torch.log2(sides / 56 + 1e-6).floor().clamp(0, levels - 1).long()


def _centres_and_sides(boxes: Tensor) -> tuple[Tensor, Tensor]:
    first, last = boxes.split(2, dim=-1)
    return (first + last) / 2, last - first


def _some(places: Tensor, most: int) -> Tensor:
    return places[torch.randperm(len(places), device=places.device)[:most]]

"""Boxes: anchors, the deltas of a box from its anchor, which box is whose object, which boxes are kept.

A box is x0, y0, x1, y1 in pixels, its width x1 - x0. The conventions are OpenMMLab's, by which the published detectors
were trained; torchvision's differ: it rounds anchors, takes strides from the maps' sizes, bounds growth alone and not
shrinking, and gives an anchor that is the best one of several objects to another one of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ...optional_dependencies import need
from ...preprocessing import Size

RATIOS = (0.5, 1.0, 2.0)  # of anchors, height over width
MAX_SIDE_DELTA = math.log(1000 / 16)  # of the logarithm of a side, either way
BACKGROUND, BETWEEN_THRESHOLDS = -1, -2  # what an anchor without an object is: none, or too near to one to say
UNIT_STDS = (1.0, 1.0, 1.0, 1.0)


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
    """Which positions of maps of these sizes lie in an image, of which they may show more: (all positions,) of bool."""
    inside = []
    for (height, width), stride in zip(sizes, strides, strict=True):
        row, column = torch.arange(height) * stride < image[0], torch.arange(width) * stride < image[1]
        inside.append((row[:, None] & column).flatten())
    return torch.cat(inside)


def encode(boxes: Tensor, anchors: Tensor, stds: Sequence[float] = UNIT_STDS) -> Tensor:
    """The deltas of (..., 4) boxes from (..., 4) anchors: (..., 4), dx, dy, dw, dh (Girshick et al., 1311.2524, C).

    With centres (x, y) and sides (w, h), those of an anchor with index a:
    dx = (x - x_a) / w_a, dy = (y - y_a) / h_a, dw = log(w / w_a), dh = log(h / h_a), each divided by its std.
    """
    (centres, sides), (anchor_centres, anchor_sides) = _centres_and_sides(boxes), _centres_and_sides(anchors)
    deltas = torch.cat([(centres - anchor_centres) / anchor_sides, (sides / anchor_sides).log()], dim=-1)
    return deltas / deltas.new_tensor(stds)


def decode(deltas: Tensor, anchors: Tensor, size: Size | None = None, stds: Sequence[float] = UNIT_STDS) -> Tensor:
    """The boxes, (..., 4), of which `encode` makes these deltas from the anchors; clipped to an image of `size`.

    dw and dh are clamped to MAX_SIDE_DELTA either way.
    """
    anchor_centres, anchor_sides = _centres_and_sides(anchors)
    centre_deltas, side_deltas = (deltas * deltas.new_tensor(stds)).split(2, dim=-1)
    centres = anchor_centres + centre_deltas * anchor_sides
    halves = anchor_sides * side_deltas.clamp(-MAX_SIDE_DELTA, MAX_SIDE_DELTA).exp() / 2
    boxes = torch.cat([centres - halves, centres + halves], dim=-1)
    return boxes if size is None else clip(boxes, size)


def clip(boxes: Tensor, size: Size) -> Tensor:
    """The part of each box, (..., 4), that lies in an image of this size."""
    height, width = size
    return torch.stack([boxes[..., ::2].clamp(0, width), boxes[..., 1::2].clamp(0, height)], dim=-1).flatten(-2)


def has_area(boxes: Tensor) -> Tensor:
    """(..., 4) -> (...) of bool."""
    return (boxes[..., 2:] > boxes[..., :2]).all(dim=-1)


def box_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """(M, 4) and (N, 4) boxes -> (M, N): intersection over union."""
    return need("torchvision.ops", extra="detect").box_iou(boxes, others)


def assign(ious: Tensor, pos_iou_thr: float, neg_iou_thr: float, min_pos_iou: float | None = None) -> Tensor:
    """The object of each anchor: (objects, anchors) IoUs -> (anchors,) indices, BACKGROUND or BETWEEN_THRESHOLDS.

    An anchor goes to the object with which it has the largest IoU, if that is `pos_iou_thr` or more; below
    `neg_iou_thr` it is background. With `min_pos_iou` an object also gets the anchors whose IoU with it is the largest
    that it has with any, if that is as much, so that none goes without; of several such objects the last gets it.
    """
    objects, anchors = ious.shape
    if not ious.numel():
        return ious.new_full((anchors,), BACKGROUND, dtype=torch.long)
    best, assigned = ious.max(dim=0)
    assigned[best < pos_iou_thr] = BETWEEN_THRESHOLDS
    assigned[best < neg_iou_thr] = BACKGROUND
    if min_pos_iou is not None:
        best_of_object = ious.amax(dim=1, keepdim=True)
        closest = (ious == best_of_object) & (best_of_object >= min_pos_iou) & (best_of_object > 0)
        indices = torch.arange(objects, device=ious.device)[:, None]
        last = torch.where(closest, indices, BACKGROUND).amax(dim=0)
        assigned = torch.where(last >= 0, last, assigned)
    return assigned


def sample(assigned: Tensor, count: int, positive_fraction: float) -> tuple[Tensor, Tensor]:
    """Up to `count` indices into (N,) assigned, at random: (those of objects, up to that fraction, of background)."""
    positive = _random_subset((assigned >= 0).nonzero().flatten(), int(count * positive_fraction))
    negative = _random_subset((assigned == BACKGROUND).nonzero().flatten(), count - len(positive))
    return positive, negative


def nms(boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float, max_count: int) -> Tensor:
    """Indices of the best boxes, (at most max_count,), best first.

    Of two boxes of a group whose IoU is more than the threshold the one of lower score is dropped. Boxes are (N, 4),
    scores and groups (N,).
    """
    return need("torchvision.ops", extra="detect").batched_nms(boxes, scores, groups, iou_threshold)[:max_count]


def pyramid_level(boxes: Tensor, levels: int = 4) -> Tensor:
    """(N, 4) -> (N,): which level, 0 the finest, shows what lies in a box; each doubling from 112 goes one up.

    Lin et al., 1612.03144, equation 1.
    """
    sides = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1).sqrt()
    return torch.log2(sides / 56 + 1e-6).floor().clamp(0, levels - 1).long()


def _centres_and_sides(boxes: Tensor) -> tuple[Tensor, Tensor]:
    first, last = boxes.split(2, dim=-1)
    return (first + last) / 2, last - first


def _random_subset(indices: Tensor, max_count: int) -> Tensor:
    return indices[torch.randperm(len(indices), device=indices.device)[:max_count]]

"""What heads have in common that predict a box for each anchor of each level."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from ...distributed.collectives import mean_over_ranks
from ...preprocessing import Size
from .boxes import BETWEEN_THRESHOLDS, RATIOS, assign, box_iou, inside_image, make_anchors


class AnchorHead(nn.Module):
    """A head with outputs for each anchor. Subclasses name the anchors, and which of them are an object's."""

    strides: ClassVar[tuple[int, ...]]  # of the levels, in pixels
    scales: ClassVar[tuple[float, ...]]  # of anchors, in strides
    pos_iou_thr: ClassVar[float]  # see `assign`
    neg_iou_thr: ClassVar[float]
    min_pos_iou: ClassVar[float]

    @classmethod
    def anchors_per_position(cls) -> int:
        return len(RATIOS) * len(cls.scales)

    def anchors(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Those of each (B, C, H, W) level, (H x W x anchors per position, 4)."""
        dtype = at_least_float32(levels[0]).dtype
        return make_anchors(map_sizes(levels), self.strides, self.scales, levels[0].device, dtype)

    def assign_anchors(self, boxes: Tensor, anchors: Tensor, levels: Sequence[Tensor], size: Size) -> Tensor:
        """(anchors,) as from `assign`: the object of each anchor of an image of this size, whose objects have these
        (N, 4) boxes. What larger images add to the batch takes no part.
        """
        inside = inside_image(size, map_sizes(levels), self.strides).to(anchors.device)
        inside = inside.repeat_interleave(self.anchors_per_position())
        ious = box_iou(boxes.to(anchors.dtype), anchors).masked_fill(~inside, -1)
        assigned = assign(ious, self.pos_iou_thr, self.neg_iou_thr, self.min_pos_iou)
        return assigned.masked_fill(~inside, BETWEEN_THRESHOLDS)


def conv_stack(count: int, channels: int) -> nn.Sequential:
    """3x3 convolutions with ReLU, one level down: the published names leave room for a norm beside each."""
    return nn.Sequential(
        *(
            nn.Sequential(OrderedDict(conv=nn.Conv2d(channels, channels, 3, padding=1), relu=nn.ReLU(inplace=True)))
            for _ in range(count)
        )
    )


def initialise(head: nn.Module, std: float = 0.01) -> None:
    """Small weights and no biases, so that outputs are near zero at first."""
    for module in head.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, std=std)
            assert module.bias is not None
            nn.init.zeros_(module.bias)


def by_anchor(x_BCHW: Tensor, values: int) -> Tensor:
    """(B, anchors per position x values, H, W) -> (B, anchors, values) in the order of `make_anchors`, in float32."""
    return at_least_float32(x_BCHW.permute(0, 2, 3, 1).reshape(x_BCHW.shape[0], -1, values))


def at_least_float32(x: Tensor) -> Tensor:
    """Boxes need more digits than mixed precision has; float64 stays."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def mean_count(count: int, like: Tensor) -> Tensor:
    """What summed losses are divided by: a count's mean over all processes, 1 at least, as a scalar like `like`.

    So gradients that are averaged over processes are those of one that has all the images.
    """
    return mean_over_ranks(like.new_tensor(float(count))).clamp(min=1)


def map_sizes(levels: Sequence[Tensor]) -> list[Size]:
    return [(x_BCHW.shape[2], x_BCHW.shape[3]) for x_BCHW in levels]

"""What heads have in common that judge a box around each place of each level."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from ...distributed.collectives import mean_over_ranks
from .boxes import BETWEEN, RATIOS, Size, assign, inside_image, make_anchors, overlaps


class AnchorHead(nn.Module):
    """Says something of each anchor. Subclasses say of which anchors, and which of them are an object's."""

    strides: ClassVar[tuple[int, ...]]
    scales: ClassVar[tuple[float, ...]]
    positive: ClassVar[float]  # overlaps: see `assign`
    negative: ClassVar[float]
    low_quality: ClassVar[float]

    @classmethod
    def anchors_a_place(cls) -> int:
        return len(RATIOS) * len(cls.scales)

    def anchors(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Those of each (B, C, H, W) level, (H x W x anchors a place, 4)."""
        return make_anchors(map_sizes(levels), self.strides, self.scales, levels[0].device, precise(levels[0]).dtype)

    def assigned(self, boxes: Tensor, anchors: Tensor, levels: Sequence[Tensor], size: Size) -> Tensor:
        """The object of each anchor of an image of this size; what larger images add to the batch takes no part."""
        inside = inside_image(size, map_sizes(levels), self.strides).to(anchors.device)
        inside = inside.repeat_interleave(self.anchors_a_place())
        ious = overlaps(boxes.to(anchors.dtype), anchors).masked_fill(~inside, -1)
        return assign(ious, self.positive, self.negative, self.low_quality).masked_fill(~inside, BETWEEN)


def convolutions(count: int, channels: int) -> nn.Sequential:
    """3x3 convolutions with ReLU, one level down: the published names leave room for a norm beside each."""
    return nn.Sequential(
        *(
            nn.Sequential(OrderedDict(conv=nn.Conv2d(channels, channels, 3, padding=1), relu=nn.ReLU(inplace=True)))
            for _ in range(count)
        )
    )


def initialise(head: nn.Module, std: float = 0.01) -> None:
    """Small weights, no biases: a head starts from saying nothing."""
    for module in head.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, std=std)
            assert module.bias is not None
            nn.init.zeros_(module.bias)


def by_anchor(x_BCHW: Tensor, values: int) -> Tensor:
    """(B, anchors a place x values, H, W) -> (B, anchors, values) in the order of `make_anchors`, in full precision."""
    return precise(x_BCHW.permute(0, 2, 3, 1).reshape(len(x_BCHW), -1, values))


def precise(x: Tensor) -> Tensor:
    """At least 32 bits: boxes need more than mixed precision has."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def mean_count(count: int, like: Tensor) -> Tensor:
    """What summed losses are divided by: a count's mean over all processes, 1 at least.

    So gradients that are averaged over processes are those of one that has all the images.
    """
    return mean_over_ranks(like.new_tensor(float(count))).clamp(min=1)


def map_sizes(levels: Sequence[Tensor]) -> list[Size]:
    return [(x_BCHW.shape[2], x_BCHW.shape[3]) for x_BCHW in levels]

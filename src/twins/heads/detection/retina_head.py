"""RetinaNet's head: a class and a box for each anchor, without proposals (Lin et al., 1708.02002)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...optional_dependencies import need
from .anchor_head import AnchorHead, by_anchor, convolutions, initialise, mean_count
from .boxes import BETWEEN, best_apart, decode, encode, has_area
from .transform import ImageList, Target

CANDIDATES = 1000  # a level
PRIOR = 0.01  # the chance of an object that the head starts from, lest all that background swamp its first steps


class RetinaHead(AnchorHead):
    """Two branches of four convolutions, shared by all levels. Each class is a yes or no of its own."""

    strides = (8, 16, 32, 64, 128)
    scales = (4.0, 4 * 2 ** (1 / 3), 4 * 2 ** (2 / 3))
    positive, negative, low_quality = 0.5, 0.4, 0.0

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.cls_convs, self.reg_convs = convolutions(4, channels), convolutions(4, channels)
        self.retina_cls = nn.Conv2d(channels, self.anchors_a_place() * num_classes, 3, padding=1)
        self.retina_reg = nn.Conv2d(channels, self.anchors_a_place() * 4, 3, padding=1)
        initialise(self)
        assert self.retina_cls.bias is not None
        nn.init.constant_(self.retina_cls.bias, -math.log((1 - PRIOR) / PRIOR))

    def forward(self, levels: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """For each level (B, anchors, num_classes) logits and (B, anchors, 4) changes of the anchors."""
        logits = [by_anchor(self.retina_cls(self.cls_convs(x_BCHW)), self.num_classes) for x_BCHW in levels]
        changes = [by_anchor(self.retina_reg(self.reg_convs(x_BCHW)), 4) for x_BCHW in levels]
        return logits, changes

    def losses(self, levels: Sequence[Tensor], image_list: ImageList, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Focal loss of the anchors that are an object's or clearly none, and L1 of the objects' boxes.

        Both are sums, divided by the number of anchors that are an object's; an image without any counts as one.
        """
        logits, changes = (torch.cat(of_levels, dim=1) for of_levels in self(levels))
        anchors = torch.cat(self.anchors(levels))
        focal_loss = need("torchvision.ops", extra="detect").sigmoid_focal_loss
        loss_cls, loss_bbox, count = logits.new_zeros(()), logits.new_zeros(()), 0
        for place, (target, size) in enumerate(zip(targets, image_list.padded_sizes, strict=True)):
            assigned = self.assigned(target["boxes"], anchors, levels, size)
            of_object, clear = assigned >= 0, assigned != BETWEEN
            objects = assigned[of_object]
            truth = torch.zeros_like(logits[place])
            truth[of_object, target["labels"][objects]] = 1
            loss_cls = loss_cls + focal_loss(logits[place][clear], truth[clear], reduction="sum")
            wanted = encode(target["boxes"][objects], anchors[of_object])
            loss_bbox = loss_bbox + F.l1_loss(changes[place][of_object], wanted, reduction="sum")
            count += max(len(objects), 1)
        divisor = mean_count(count, like=logits)
        return {"loss_cls": loss_cls / divisor, "loss_bbox": loss_bbox / divisor}

    def detections(
        self, levels: Sequence[Tensor], image_list: ImageList, score_thresh: float, nms_thresh: float, most: int
    ) -> list[dict[str, Tensor]]:
        """Boxes, scores and labels in each image as it came, best first.

        Candidates are the best pairs of an anchor and a class of each level.
        """
        logits, changes = self(levels)
        anchors = self.anchors(levels)
        found = []
        for place, (size, ratio) in enumerate(zip(image_list.sizes, image_list.ratios, strict=True)):
            boxes, scores, labels = [], [], []
            for of_level, moved, standing in zip(logits, changes, anchors, strict=True):
                likely = of_level[place].sigmoid()
                anchor, label = (likely > score_thresh).nonzero(as_tuple=True)
                score, best = likely[anchor, label].topk(min(CANDIDATES, len(anchor)))
                boxes.append(decode(moved[place][anchor[best]], standing[anchor[best]], size))
                scores.append(score)
                labels.append(label[best])
            every = {"boxes": torch.cat(boxes) / ratio, "scores": torch.cat(scores), "labels": torch.cat(labels)}
            every = {name: values[has_area(every["boxes"])] for name, values in every.items()}
            kept = best_apart(every["boxes"], every["scores"], every["labels"], nms_thresh, most)
            found.append({name: values[kept] for name, values in every.items()})
        return found

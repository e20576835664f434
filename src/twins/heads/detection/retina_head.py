"""RetinaNet's head: a class and a box for each anchor, without proposals (Lin et al., 1708.02002)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...optional_dependencies import need
from .anchor_head import AnchorHead, by_anchor, conv_stack, initialise, mean_count
from .boxes import BETWEEN_THRESHOLDS, decode, encode, has_area
from .selection import Detections, Selection
from .transform import ImageList, Target

CANDIDATES_PER_LEVEL = 1000
PRIOR_PROB = 0.01  # of an object, from which the head starts, lest all that background swamp its first steps


class RetinaHead(AnchorHead):
    """Two branches of four convolutions, shared by all levels. Each class has a sigmoid of its own."""

    strides = (8, 16, 32, 64, 128)
    scales = (4.0, 4 * 2 ** (1 / 3), 4 * 2 ** (2 / 3))
    pos_iou_thr, neg_iou_thr, min_pos_iou = 0.5, 0.4, 0.0

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.cls_convs, self.reg_convs = conv_stack(4, channels), conv_stack(4, channels)
        self.retina_cls = nn.Conv2d(channels, self.anchors_per_position() * num_classes, 3, padding=1)
        self.retina_reg = nn.Conv2d(channels, self.anchors_per_position() * 4, 3, padding=1)
        initialise(self)
        assert self.retina_cls.bias is not None
        nn.init.constant_(self.retina_cls.bias, -math.log((1 - PRIOR_PROB) / PRIOR_PROB))

    def forward(self, levels: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """For each (B, channels, H, W) level (B, anchors, num_classes) logits and (B, anchors, 4) deltas."""
        logits = [by_anchor(self.retina_cls(self.cls_convs(x_BCHW)), self.num_classes) for x_BCHW in levels]
        deltas = [by_anchor(self.retina_reg(self.reg_convs(x_BCHW)), 4) for x_BCHW in levels]
        return logits, deltas

    def losses(self, levels: Sequence[Tensor], image_list: ImageList, targets: Sequence[Target]) -> dict[str, Tensor]:
        """`loss_cls`, the focal loss of the anchors that are an object's or background, and `loss_bbox`, L1 of deltas.

        The latter is of the anchors that are an object's. Both are sums, divided by the number of these; an image
        without any counts as one.
        """
        logits, deltas = (torch.cat(of_levels, dim=1) for of_levels in self(levels))
        anchors = torch.cat(self.anchors(levels))
        focal_loss = need("torchvision.ops", extra="detect").sigmoid_focal_loss
        loss_cls, loss_bbox, count = logits.new_zeros(()), logits.new_zeros(()), 0
        for i, (target, size) in enumerate(zip(targets, image_list.padded_sizes, strict=True)):
            assigned = self.assign_anchors(target["boxes"], anchors, levels, size)
            positive, used = assigned >= 0, assigned != BETWEEN_THRESHOLDS
            objects = assigned[positive]
            truth = torch.zeros_like(logits[i])
            truth[positive, target["labels"][objects]] = 1
            loss_cls = loss_cls + focal_loss(logits[i][used], truth[used], reduction="sum")
            true_deltas = encode(target["boxes"][objects], anchors[positive])
            loss_bbox = loss_bbox + F.l1_loss(deltas[i][positive], true_deltas, reduction="sum")
            count += max(len(objects), 1)
        divisor = mean_count(count, like=logits)
        return {"loss_cls": loss_cls / divisor, "loss_bbox": loss_bbox / divisor}

    def detections(self, levels: Sequence[Tensor], image_list: ImageList, selection: Selection) -> list[Detections]:
        """Boxes, scores and labels in each image as it came, best first.

        Candidates are the best pairs of an anchor and a class of each level.
        """
        logits, deltas = self(levels)
        anchors = self.anchors(levels)
        detections = []
        for i, (size, scale) in enumerate(zip(image_list.image_sizes, image_list.scale_factors, strict=True)):
            boxes, scores, labels = [], [], []
            for level_logits, level_deltas, level_anchors in zip(logits, deltas, anchors, strict=True):
                probabilities = level_logits[i].sigmoid()
                anchor, label = (probabilities > selection.score_thresh).nonzero(as_tuple=True)
                score, best = probabilities[anchor, label].topk(min(CANDIDATES_PER_LEVEL, len(anchor)))
                anchor = anchor[best]
                boxes.append(decode(level_deltas[i][anchor], level_anchors[anchor], size))
                scores.append(score)
                labels.append(label[best])
            box = torch.cat(boxes) / scale
            kept = has_area(box)
            detections.append(selection.best(box[kept], torch.cat(scores)[kept], torch.cat(labels)[kept]))
        return detections

"""Mask R-CNN's first stage: boxes that may hold an object, of whatever class (Ren et al., 1506.01497)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .anchor_head import AnchorHead, by_anchor, initialise, mean_count
from .boxes import decode, encode, has_area, nms, sample
from .transform import ImageList, Target

NMS_THRESH = 0.7
POSITIVE_FRACTION = 0.5

Outputs = tuple[list[Tensor], list[Tensor]]  # of each level: (B, anchors) logits, (B, anchors, 4) deltas


class RPNHead(AnchorHead):
    """One convolution, and for each anchor the logit of an object and the deltas of its box.

    `proposals` boxes of an image are handed on; of `samples` anchors of it, half of them an object's at most, the
    losses are.
    """

    strides = (4, 8, 16, 32, 64)
    scales = (8.0,)
    pos_iou_thr, neg_iou_thr, min_pos_iou = 0.7, 0.3, 0.3

    def __init__(self, channels: int, proposals: int = 1000, samples: int = 256) -> None:
        super().__init__()
        self.proposals, self.samples = proposals, samples
        self.rpn_conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.rpn_cls = nn.Conv2d(channels, self.anchors_per_position(), 1)
        self.rpn_reg = nn.Conv2d(channels, self.anchors_per_position() * 4, 1)
        initialise(self)

    def forward(self, levels: Sequence[Tensor]) -> Outputs:
        """For each (B, channels, H, W) level (B, anchors) logits and (B, anchors, 4) deltas."""
        hidden = [F.relu(self.rpn_conv(x_BCHW)) for x_BCHW in levels]
        logits = [by_anchor(self.rpn_cls(x_BCHW), 1).squeeze(-1) for x_BCHW in hidden]
        deltas = [by_anchor(self.rpn_reg(x_BCHW), 4) for x_BCHW in hidden]
        return logits, deltas

    @torch.no_grad()
    def propose(self, levels: Sequence[Tensor], outputs: Outputs, image_list: ImageList) -> list[Tensor]:
        """The best boxes of each image in the batch, (N, 4), best first, after NMS of each level.

        `outputs` are what `forward` returns for these levels.
        """
        (logits, deltas), anchors = outputs, self.anchors(levels)
        per_level = self.proposals * (2 if self.training else 1)
        proposals = []
        for i, size in enumerate(image_list.image_sizes):
            boxes, scores, level_of = [], [], []
            for level, (level_logits, level_deltas, level_anchors) in enumerate(
                zip(logits, deltas, anchors, strict=True)
            ):
                score, best = level_logits[i].sigmoid().topk(min(per_level, len(level_anchors)))
                boxes.append(decode(level_deltas[i][best], level_anchors[best], size))
                scores.append(score)
                level_of.append(torch.full_like(best, level))
            kept = has_area(torch.cat(boxes))
            box, score, group = (torch.cat(parts)[kept] for parts in (boxes, scores, level_of))
            proposals.append(box[nms(box, score, group, NMS_THRESH, self.proposals)])
        return proposals

    def losses(
        self, levels: Sequence[Tensor], outputs: Outputs, image_list: ImageList, targets: Sequence[Target]
    ) -> dict[str, Tensor]:
        """`loss_rpn_cls`, cross-entropy of sampled anchors, and `loss_rpn_bbox`, L1 of the deltas of those of objects.

        Both are divided by the number of samples; an image without samples of an object, or of background, counts as
        if it had one. `outputs` are what `forward` returns for these levels.
        """
        logits, deltas = (torch.cat(of_levels, dim=1) for of_levels in outputs)
        anchors = torch.cat(self.anchors(levels))
        loss_cls, loss_bbox, count = logits.new_zeros(()), logits.new_zeros(()), 0
        for i, (target, size) in enumerate(zip(targets, image_list.padded_sizes, strict=True)):
            assigned = self.assign_anchors(target["boxes"], anchors, levels, size)
            positive, negative = sample(assigned, self.samples, POSITIVE_FRACTION)
            sampled = torch.cat([positive, negative])
            truth = (assigned[sampled] >= 0).to(logits.dtype)
            loss_cls = loss_cls + F.binary_cross_entropy_with_logits(logits[i, sampled], truth, reduction="sum")
            true_deltas = encode(target["boxes"][assigned[positive]], anchors[positive])
            loss_bbox = loss_bbox + F.l1_loss(deltas[i, positive], true_deltas, reduction="sum")
            count += max(len(positive), 1) + max(len(negative), 1)
        divisor = mean_count(count, like=logits)
        return {"loss_rpn_cls": loss_cls / divisor, "loss_rpn_bbox": loss_bbox / divisor}

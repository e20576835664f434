"""Mask R-CNN's first stage: boxes that may hold an object, of whatever class (Ren et al., 1506.01497)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .anchor_head import AnchorHead, by_anchor, initialise, mean_count
from .boxes import best_apart, decode, encode, has_area, sample
from .transform import ImageList, Target

NMS_THRESH = 0.7


class RPNHead(AnchorHead):
    """One convolution, and for each anchor whether there is an object and how its box differs.

    `proposals` boxes of an image are handed on; `samples` anchors of it, half of them an object's at most, are learnt
    from.
    """

    strides = (4, 8, 16, 32, 64)
    scales = (8.0,)
    positive, negative, low_quality = 0.7, 0.3, 0.3

    def __init__(self, channels: int, proposals: int = 1000, samples: int = 256) -> None:
        super().__init__()
        self.proposals, self.samples = proposals, samples
        self.rpn_conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.rpn_cls = nn.Conv2d(channels, self.anchors_a_place(), 1)
        self.rpn_reg = nn.Conv2d(channels, self.anchors_a_place() * 4, 1)
        initialise(self)

    def forward(self, levels: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """For each level (B, anchors) logits and (B, anchors, 4) changes of the anchors."""
        hidden = [F.relu(self.rpn_conv(x_BCHW)) for x_BCHW in levels]
        logits = [by_anchor(self.rpn_cls(x_BCHW), 1).squeeze(-1) for x_BCHW in hidden]
        changes = [by_anchor(self.rpn_reg(x_BCHW), 4) for x_BCHW in hidden]
        return logits, changes

    @torch.no_grad()
    def propose(
        self, levels: Sequence[Tensor], answers: tuple[list[Tensor], list[Tensor]], image_list: ImageList
    ) -> list[Tensor]:
        """The best boxes of each image made ready, (N, 4), best first, of which none covers another of its level.

        `answers` are what the head said of these levels.
        """
        (logits, changes), anchors = answers, self.anchors(levels)
        a_level = self.proposals * (2 if self.training else 1)
        proposals = []
        for place, size in enumerate(image_list.sizes):
            boxes, scores, level_of = [], [], []
            for level, (of_level, moved, standing) in enumerate(zip(logits, changes, anchors, strict=True)):
                score, best = of_level[place].sigmoid().topk(min(a_level, len(standing)))
                boxes.append(decode(moved[place][best], standing[best], size))
                scores.append(score)
                level_of.append(torch.full_like(best, level))
            real = has_area(torch.cat(boxes))
            box, score, group = (torch.cat(parts)[real] for parts in (boxes, scores, level_of))
            proposals.append(box[best_apart(box, score, group, NMS_THRESH, self.proposals)])
        return proposals

    def losses(
        self,
        levels: Sequence[Tensor],
        answers: tuple[list[Tensor], list[Tensor]],
        image_list: ImageList,
        targets: Sequence[Target],
    ) -> dict[str, Tensor]:
        """Cross-entropy of sampled anchors and L1 of the objects' boxes, both divided by the number of samples.

        An image without samples of an object, or of background, counts as if it had one. `answers` are what the head
        said of these levels.
        """
        logits, changes = (torch.cat(of_levels, dim=1) for of_levels in answers)
        anchors = torch.cat(self.anchors(levels))
        loss_cls, loss_bbox, count = logits.new_zeros(()), logits.new_zeros(()), 0
        for place, (target, size) in enumerate(zip(targets, image_list.padded_sizes, strict=True)):
            assigned = self.assigned(target["boxes"], anchors, levels, size)
            positive, negative = sample(assigned, self.samples, positive_share=0.5)
            sampled = torch.cat([positive, negative])
            truth = (assigned[sampled] >= 0).to(logits.dtype)
            loss_cls = loss_cls + F.binary_cross_entropy_with_logits(logits[place, sampled], truth, reduction="sum")
            wanted = encode(target["boxes"][assigned[positive]], anchors[positive])
            loss_bbox = loss_bbox + F.l1_loss(changes[place, positive], wanted, reduction="sum")
            count += max(len(positive), 1) + max(len(negative), 1)
        divisor = mean_count(count, like=logits)
        return {"loss_rpn_cls": loss_cls / divisor, "loss_rpn_bbox": loss_bbox / divisor}

"""Candidates in tensors whose shapes do not depend on them: what is no candidate has a score of 0.

`selection` and `boxes.nms` leave out what they do not keep; here it loses its score.
"""

from __future__ import annotations

from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from .nms_operator import nms_mask


class Candidates(NamedTuple):
    """N boxes for each of B images, all that there are and more."""

    boxes: Tensor  # (B, N, 4)
    scores: Tensor  # (B, N), 0 where there is no candidate
    labels: Tensor  # (B, N) int64

    def only(self, wanted: Tensor) -> Self:
        """Those of (B, N) bool."""
        return self._replace(scores=torch.where(wanted, self.scores, 0))

    def after_nms(self, iou_threshold: float, num_labels: int) -> Self:
        """What is kept by NMS of each of the labels 0 to num_labels - 1 by itself."""
        each = torch.arange(num_labels, device=self.labels.device)[:, None]
        by_label = torch.where(self.labels[:, None] == each, self.scores[:, None], 0)  # (B, num_labels, N)
        return self.only(nms_mask(self.boxes, by_label, iou_threshold).any(dim=1))

    def best(self, count: int) -> Self:
        """The `count` of highest score, best first; where there are fewer, boxes and scores are 0 and labels -1."""
        scores, indices = top_k(self.scores, count)
        real = scores > 0
        return type(self)(
            boxes=torch.where(real[:, :, None], rows(self.boxes, indices), 0),
            scores=torch.where(real, scores, 0),
            labels=torch.where(real, self.labels.gather(1, indices), -1),
        )


def top_k(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The best of (B, N) scores of 0 or more and their indices, (B, count) each; -1 and index 0 where N is less."""
    best, indices = F.pad(scores, (0, count), value=-1.0).topk(count)  # without asking whether there are as many
    return best, torch.where(best >= 0, indices, 0)


def rows(x_BNC: Tensor, indices: Tensor) -> Tensor:
    """(B, N, C) at the (B, K) indices of each image: (B, K, C)."""
    return x_BNC.gather(1, indices[:, :, None].expand(-1, -1, x_BNC.shape[2]))

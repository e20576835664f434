"""Which of a detector's candidates are its detections."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from .boxes import nms

Detections = dict[str, Tensor]  # of one image, best first: boxes (N, 4), scores (N,), labels (N,), perhaps masks


class Selection(NamedTuple):
    """What a box must be to be a detection, one class at a time."""

    score_thresh: float  # its score is more than this
    nms_thresh: float  # of two boxes of a class whose IoU is more than this, the one of higher score is kept
    detections_per_img: int  # the best so many of an image

    def best(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> Detections:
        """What is kept of (N, 4) boxes with (N,) scores, all above the threshold, and (N,) labels."""
        kept = nms(boxes, scores, labels, self.nms_thresh, self.detections_per_img)
        return {"boxes": boxes[kept], "scores": scores[kept], "labels": labels[kept]}

"""Detections in the format of COCO's files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..optional_dependencies import need


class CocoDetections(NamedTuple):
    """All N detections of one image, compressed so that they are cheap to keep and to send between processes."""

    boxes: np.ndarray  # (N, 4) float64: x and y of the corner at the top left, width, height, in pixels
    scores: np.ndarray  # (N,) float64
    labels: np.ndarray  # (N,) int64
    masks: list[dict[str, Any]]  # COCO's compressed RLE, {"size", "counts"}; none without masks
    height: int  # of the image, which masks cover; 0 without masks
    width: int

    @classmethod
    def of(cls, detections: dict[str, Tensor], masks: bool) -> CocoDetections:
        """From a detector's output for an image, with its masks or without.

        `boxes` (N, 4) are x0, y0, x1, y1 in pixels, `scores` (N,), `labels` (N,), `masks` (N, 1, H, W) of bool.
        """
        # Copied into NumPy's memory: small tensors of torch's, kept between the large ones that masks take, each pin a
        # large one's room.
        corners = detections["boxes"].cpu().numpy().astype(np.float64)
        height, width = detections["masks"].shape[-2:] if masks else (0, 0)
        return cls(
            boxes=np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]]),
            scores=detections["scores"].cpu().numpy().astype(np.float64),
            labels=detections["labels"].cpu().numpy().astype(np.int64),
            masks=_compressed_rle(detections["masks"][:, 0]) if masks else [],
            height=height,
            width=width,
        )

    def results(self, image_id: int, category_ids: Sequence[int]) -> Iterator[dict[str, Any]]:
        """COCO's results, one a detection: boxes to a thousandth of a pixel, scores to five digits.

        `category_ids` are what COCO's files call the classes.
        """
        for i, (box, score, label) in enumerate(
            zip(self.boxes.tolist(), self.scores.tolist(), self.labels.tolist(), strict=True)
        ):
            yield {
                "image_id": image_id,
                "category_id": category_ids[label],
                "bbox": [round(side, 3) for side in box],
                "score": round(score, 5),
                **({"segmentation": self.masks[i]} if self.masks else {}),
            }


def _compressed_rle(masks: Tensor) -> list[dict[str, Any]]:
    """(N, H, W) of bool in COCO's compressed run-length encoding, which follows the columns, as text."""
    columns = masks.mT.contiguous().view(torch.uint8)  # transposed where they are, on the GPU as a rule
    encoded = need("faster_coco_eval.core.mask", extra="detect").encode(columns.cpu().numpy().T)
    return [{"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode()} for rle in encoded]

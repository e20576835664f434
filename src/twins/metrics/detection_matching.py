"""Which detections find which objects of an image, as COCO matches them at one IoU."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..data.boxes.dataset import Objects
from .coco_format import CocoDetections

MATCH_IOU = 0.5  # of a detection and the object that it finds, at least


class Matches(NamedTuple):
    """What N detections of an image find in it."""

    found: np.ndarray  # (N,) int64: the index of the object of its class that each finds, -1 for none
    ignored: np.ndarray  # (N,) bool: those that find none, but lie in a crowd of their class: neither right nor wrong


def match_detections(detections: CocoDetections, objects: Objects) -> Matches:
    """Detections in order of falling score each find the object of their class with the largest IoU.

    That is at least MATCH_IOU, and the object none that a better detection has found. Of equal scores the first
    detection is matched first, of equal IoUs the last object, as COCO's own tools do. What detections of at least some
    score find does not depend on the others.
    """
    iou = box_iou(detections.boxes, objects.boxes, objects.crowd)
    of_its_class = detections.labels[:, None] == objects.labels
    meets = (iou >= MATCH_IOU) & of_its_class
    found = np.full(len(iou), -1)
    free = ~objects.crowd
    for i in np.argsort(-detections.scores, kind="stable"):
        candidates = np.flatnonzero(meets[i] & free)
        if len(candidates):
            best = candidates[::-1][iou[i, candidates[::-1]].argmax()]
            found[i], free[best] = best, False
    return Matches(found, (found < 0) & (meets & objects.crowd).any(axis=1))


def box_iou(boxes: np.ndarray, others: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """(N, M) float64 IoU of (N, 4) and (M, 4) boxes x, y, width, height; 0 for boxes without area.

    Where (M,) `crowd` holds it is the share of the first box that lies in the second.
    """
    ends, others_ends = (corner[:, :2] + corner[:, 2:] for corner in (boxes, others))
    sides = np.minimum(ends[:, None], others_ends) - np.maximum(boxes[:, None, :2], others[:, :2])
    common = sides.clip(min=0).prod(axis=2)
    areas, others_areas = (corner[:, 2] * corner[:, 3] for corner in (boxes, others))
    whole = np.where(crowd, areas[:, None], areas[:, None] + others_areas - common)
    return np.divide(common, whole, out=np.zeros_like(common), where=whole > 0)

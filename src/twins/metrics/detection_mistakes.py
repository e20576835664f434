"""A detector's mistakes: objects that it misses, finds where there are none, or takes for another class."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..data.boxes.dataset import Objects, corners_of
from .coco_format import CocoDetections
from .detection_matching import MATCH_IOU, Matches, box_iou

MISSED, FALSE, CONFUSED = "missed", "false", "confused"  # kinds of mistakes


class Mistake(NamedTuple):
    """One of a detector, in one image."""

    image: int  # its index
    kind: str
    truth: int | None  # the object's label; None of a false detection
    predicted: int | None  # the detection's label; None of a missed object
    score: float | None  # of the detection; of a missed object that of the one too low to count that finds it, if any
    iou: float  # of a confused object with the detection, else the largest with any of what is on the other side
    box: tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels: of the detection, or of the missed object

    @property
    def severity(self) -> float:
        """From 0 to 1: how sure the detector was of what is wrong, or how far from finding what it missed."""
        score = self.score or 0.0
        return 1 - score if self.kind == MISSED else score


def find_mistakes(
    image: int, detections: CocoDetections, objects: Objects, matches: Matches, min_score: float
) -> list[Mistake]:
    """The mistakes in image number `image` of detections with a score above `min_score`.

    Of the detections that find no object of their class, each in order of falling score is confused with the object of
    another class that it overlaps most, if that is by MATCH_IOU at least and nothing else has found it; the others are
    false. The objects that are left then are missed. Crowds, and detections in them, are left out.
    """
    counts = detections.scores > min_score
    iou = box_iou(detections.boxes, objects.boxes, objects.crowd)
    left = ~objects.crowd
    left[matches.found[counts & (matches.found >= 0)]] = False
    mistakes = []
    wrong = np.flatnonzero(counts & (matches.found < 0) & ~matches.ignored)
    for i in wrong[np.argsort(-detections.scores[wrong], kind="stable")]:
        of_left = np.where(left, iou[i], -1.0)
        nearest = int(of_left.argmax()) if left.any() else -1
        confused = nearest >= 0 and of_left[nearest] >= MATCH_IOU
        if confused:
            left[nearest] = False
        mistakes.append(
            Mistake(
                image,
                CONFUSED if confused else FALSE,
                int(objects.labels[nearest]) if confused else None,
                int(detections.labels[i]),
                float(detections.scores[i]),
                float(iou[i, nearest]) if confused else float(iou[i].max(initial=0)),
                _corners(detections.boxes[i]),
            )
        )
    for j in np.flatnonzero(left):
        too_low = detections.scores[matches.found == j]
        mistakes.append(
            Mistake(
                image,
                MISSED,
                int(objects.labels[j]),
                None,
                float(too_low[0]) if len(too_low) else None,
                float(iou[counts, j].max(initial=0)),
                _corners(objects.boxes[j]),
            )
        )
    return mistakes


def worst_first(mistakes: Iterable[Mistake]) -> list[Mistake]:
    """In order of falling severity; of equal ones the larger box is worse."""
    return sorted(mistakes, key=lambda m: (-m.severity, -(m.box[2] - m.box[0]) * (m.box[3] - m.box[1])))


def worst_images(mistakes: Iterable[Mistake], wanted: int) -> list[list[Mistake]]:
    """The mistakes in each of so many images, of which those come first whose severities add up to most."""
    of_images: dict[int, list[Mistake]] = {}
    for mistake in worst_first(mistakes):
        of_images.setdefault(mistake.image, []).append(mistake)
    return sorted(of_images.values(), key=lambda of_image: -sum(m.severity for m in of_image))[:wanted]


def confusion_with_background(mistakes: Iterable[Mistake], objects: Tensor) -> Tensor:
    """(classes + 1, classes + 1) int64 counts, [truth, prediction]; the last row and column are the background.

    `objects` are (classes,) int64, how many there are of each. The background's row has what is false, its column what
    is missed, and the diagonal what is neither missed nor confused.
    """
    background = len(objects)
    confusion = torch.diag(torch.cat([objects, objects.new_zeros(1)]))
    for m in mistakes:
        truth = background if m.truth is None else m.truth
        confusion[truth, background if m.predicted is None else m.predicted] += 1
        if m.truth is not None:
            confusion[truth, truth] -= 1
    return confusion


def write_mistakes(path: Path, mistakes: Sequence[Mistake], name: Callable[[int], str], classes: Sequence[str]) -> None:
    """A CSV file with a row for each, in this order; `name` gives the file of an image's index."""
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "kind", "class", "predicted", "score", "IoU", "x0", "y0", "x1", "y1"])
        for m in mistakes:
            labels = ["" if label is None else classes[label] for label in (m.truth, m.predicted)]
            score = "" if m.score is None else f"{m.score:.5f}"
            box = [f"{side:.1f}" for side in m.box]
            table.writerow([name(m.image), m.kind, *labels, score, f"{m.iou:.3f}", *box])


def _corners(box: np.ndarray) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = corners_of(box[None])[0].tolist()
    return x0, y0, x1, y1

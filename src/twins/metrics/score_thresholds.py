"""Precision, recall and F1 of a detector over the score from which its detections count."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..data.boxes.dataset import Objects
from .coco_format import CocoDetections
from .detection_matching import Matches


class ScoreThresholds(NamedTuple):
    """(T,) float64 a field, from 0 to 1; every object, and every detection, of all classes weighs the same."""

    threshold: np.ndarray  # hundredths: scores above count
    precision: np.ndarray  # the share of detections that find an object; 1 where there are none
    recall: np.ndarray  # the share of objects that are found

    @property
    def f1(self) -> np.ndarray:
        """2 x precision x recall / (precision + recall); 0 where both are."""
        total = self.precision + self.recall
        return np.divide(2 * self.precision * self.recall, total, out=np.zeros_like(total), where=total > 0)

    @property
    def best(self) -> int:
        """The index of the largest F1, the middle one of several."""
        best = np.flatnonzero(self.f1 == self.f1.max())
        return int(best[len(best) // 2])


def threshold_curve(images: Iterable[tuple[CocoDetections, Objects, Matches]], lowest: float) -> ScoreThresholds | None:
    """Over all hundredths from `lowest` on, the score from which there are detections; None without any object."""
    scores, right, objects = [np.zeros(0)], [np.zeros(0, dtype=bool)], 0
    for detections, truth, matches in images:
        scores.append(detections.scores[~matches.ignored])
        right.append(matches.found[~matches.ignored] >= 0)
        objects += int((~truth.crowd).sum())
    if not objects:
        return None
    threshold = np.arange(math.ceil(round(100 * lowest, 6)), 101) / 100
    of_all, of_right = np.sort(np.concatenate(scores)), np.sort(np.concatenate(scores)[np.concatenate(right)])
    found, true = (len(of) - np.searchsorted(of, threshold, side="right") for of in (of_all, of_right))
    precision = np.divide(true, found, out=np.ones(len(threshold)), where=found > 0)
    return ScoreThresholds(threshold, precision, true / objects)


def write_thresholds(path: Path, thresholds: ScoreThresholds) -> None:
    """Write a CSV file with a row for each threshold: precision, recall and F1, from 0 to 1."""
    columns = (thresholds.threshold, thresholds.precision, thresholds.recall, thresholds.f1)
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["threshold", "precision", "recall", "F1"])
        for threshold, *values in zip(*(column.tolist() for column in columns), strict=True):
            table.writerow([f"{threshold:.2f}", *values])  # with all digits: of equal ones the middle one is best

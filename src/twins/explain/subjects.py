"""What of a prediction is explained: its likeliest classes, its largest regions, its best detections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from ..heads.detection.selection import Detections
from .scores import Pixel, holding

MOST = 3  # of one image


class Subject(NamedTuple):
    """A part of a prediction, and the score whose gradient explains it."""

    title: str
    score: Tensor  # a scalar
    box: Tensor | None = None  # (4,) x0, y0, x1, y1 of a detection, in pixels
    region: Tensor | None = None  # (H, W) of bool: the pixels of a segmenter's class


def classifier_subjects(logits_BK: Tensor, classes: Sequence[str], label: int | None) -> list[Subject]:
    """The likeliest classes, or one."""
    logits, probabilities = logits_BK[0], logits_BK[0].detach().float().softmax(dim=0).tolist()
    labels = logits.argsort(descending=True)[:MOST].tolist() if label is None else [label]
    return [Subject(f"{classes[k]}, {100 * probabilities[k]:.1f} %", logits[k]) for k in labels]


def segmenter_subjects(
    logits_BKHW: Tensor, classes: Sequence[str], label: int | None, at: Pixel | None
) -> list[Subject]:
    """The classes of most pixels, or one, by all pixels predicted as it; or, at a pixel, its class there or one."""
    logits = logits_BKHW[0]
    predicted = logits.argmax(dim=0)
    if at is not None:
        k = int(predicted[at]) if label is None else label
        return [Subject(f"{classes[k]} at the cross", logits[k, at[0], at[1]], region=(predicted == k).cpu())]
    pixels = predicted.flatten().bincount(minlength=len(classes))
    labels = pixels.argsort(descending=True)[:MOST].tolist() if label is None else [label]
    subjects = []
    for k in labels:
        region = predicted == k
        if region.any():
            share = float(region.float().mean())
            subjects.append(Subject(f"{classes[k]}, {100 * share:.1f} %", logits[k][region].sum(), region=region.cpu()))
    return subjects


def detector_subjects(
    detections: Detections, classes: Sequence[str], label: int | None, at: Pixel | None
) -> list[Subject]:
    """The best detections, of any class or of one, all of them or those whose box holds a pixel."""
    boxes, labels, scores = (detections[key] for key in ("boxes", "labels", "scores"))
    chosen = [
        i
        for i, (k, holds) in enumerate(zip(labels.tolist(), _held(boxes, at), strict=True))
        if holds and label in (None, k)
    ]
    return [
        Subject(f"{classes[int(labels[i])]}, score {scores[i].item():.2f}", scores[i], box=boxes[i].detach().cpu())
        for i in chosen[:MOST]
    ]


def _held(boxes: Tensor, at: Pixel | None) -> list[bool]:
    return [True] * len(boxes) if at is None else holding(boxes, at).tolist()

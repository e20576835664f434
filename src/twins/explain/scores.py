"""The scores whose gradients explain a prediction: of a class, of a class's region, of a detection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import TwinsError
from ..heads.detection.selection import Detections

Pixel = tuple[int, int]  # row, column


def classifier_score(logits: Any, targets: Sequence[int | None], at: Pixel | None) -> Tensor:
    """The sum over the images of (B, classes) logits of each one's class, or of its likeliest where that is None."""
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        raise TwinsError("only logits can be explained: this model has no head, or does not pool its tokens")
    if at is not None:
        raise TwinsError("at: a classifier has no output at a pixel; leave it out")
    scores = []
    for of_image, target in zip(logits, targets, strict=True):
        scores.append(of_image[_checked(target, len(of_image), default=of_image.argmax())])
    return torch.stack(scores).sum()


def segmenter_score(logits: Tensor, targets: Sequence[int | None], at: Pixel | None) -> Tensor:
    """The sum over the images of (B, classes, H, W) logits; see `grad_cam` for which of them."""
    scores = []
    for i, (of_image, target) in enumerate(zip(logits, targets, strict=True)):
        predicted = of_image.argmax(dim=0)
        if at is None:
            label = _checked(target, len(of_image), default=predicted.flatten().bincount().argmax())
            region = predicted == label
            if not region.any():
                raise TwinsError(f"images[{i}]: no pixel is predicted as class {label}; name another, or a pixel (at)")
            scores.append(of_image[label][region].sum())
        else:
            check_pixel(at, of_image.shape[1:], f"images[{i}]")
            scores.append(of_image[_checked(target, len(of_image), default=predicted[at]), at[0], at[1]])
    return torch.stack(scores).sum()


def detection_index(detections: Detections, target: int | None, at: Pixel | None) -> int:
    """The best of an image's detections of this class, or of any, whose box holds this pixel, if one is given.

    Raises TwinsError where there is none.
    """
    wanted = torch.ones_like(detections["labels"], dtype=torch.bool)
    if target is not None:
        wanted &= detections["labels"] == target
    if at is not None:
        wanted &= holding(detections["boxes"], at)
    if not wanted.any():
        what = "nothing is detected" if target is None else f"nothing is detected as class {target}"
        raise TwinsError(what + ("" if at is None else f" at row {at[0]}, column {at[1]}") + "; lower score_thresh")
    return int(wanted.nonzero()[0])


def holding(boxes: Tensor, at: Pixel) -> Tensor:
    """(N,) of bool: which of (N, 4) boxes x0, y0, x1, y1 hold the centre of this pixel."""
    y, x = at[0] + 0.5, at[1] + 0.5
    return (boxes[:, 0] <= x) & (x < boxes[:, 2]) & (boxes[:, 1] <= y) & (y < boxes[:, 3])


def check_pixel(at: Pixel, size: Sequence[int], source: str) -> None:
    """Raises TwinsError for a pixel outside an image of `size` = (height, width)."""
    if not (0 <= at[0] < size[0] and 0 <= at[1] < size[1]):
        raise TwinsError(f"{source}: no pixel at row {at[0]}, column {at[1]}: the image is {size[0]} x {size[1]}")


def _checked(target: int | None, classes: int, default: Tensor) -> int:
    if target is None:
        return int(default)
    if not 0 <= target < classes:
        raise TwinsError(f"target: the classes are 0 to {classes - 1}, not {target}")
    return target

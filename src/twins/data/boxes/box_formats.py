"""Ways in which four numbers are a box, and which of them the boxes of a file look like that were taken wrongly."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...preprocessing import Size

COCO_BOX, YOLO_BOX = "x, y, width, height", "centre x, centre y, width, height"  # in pixels here

Numbers = np.ndarray  # (N, 4)


def _from_corner(numbers: Numbers, size: Size) -> Numbers:
    return np.hstack([numbers[:, :2], numbers[:, :2] + numbers[:, 2:]])


def _from_centre(numbers: Numbers, size: Size) -> Numbers:
    return np.hstack([numbers[:, :2] - numbers[:, 2:] / 2, numbers[:, :2] + numbers[:, 2:] / 2])


def _from_shares(numbers: Numbers, size: Size) -> Numbers:
    height, width = size
    return _from_corner(numbers, size) * (width, height, width, height)


# What the numbers are, and how they become x0, y0, x1, y1 in an image of a size, (height, width).
FORMATS: dict[str, Callable[[Numbers, Size], Numbers]] = {
    COCO_BOX: _from_corner,
    "x0, y0, x1, y1": lambda numbers, _: numbers,
    YOLO_BOX: _from_centre,
    "y0, x0, y1, x1": lambda numbers, _: numbers[:, [1, 0, 3, 2]],
    "y, x, height, width": lambda numbers, size: _from_corner(numbers[:, [1, 0, 3, 2]], size),
    "shares of the image's sides": _from_shares,
}


def in_other_formats(boxes: np.ndarray, written: str, size: Size) -> dict[str, np.ndarray]:
    """By format, but for the one that is `written`, what the boxes would be in it, (N, 4) x0, y0, x1, y1.

    `boxes` are (N, 4) x, y, width, height as taken from numbers in the format `written`.
    """
    numbers = boxes if written == COCO_BOX else np.hstack([boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:]])
    return {name: corners(numbers, size) for name, corners in FORMATS.items() if name != written}

"""What lies inside an object, as COCO's files tell it: polygons, or the lengths of runs of pixels."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from reprlib import repr as shortened
from typing import Any

import numpy as np

from ...optional_dependencies import need

# In pixels: polygons of x, y, x, y ..., or COCO's run-length code, {"size", "counts"}.
Outline = Sequence[np.ndarray] | dict[str, Any]
WrittenOutline = Sequence[Sequence[float]] | dict[str, Any]  # as files have it
Size = tuple[int, int]  # width, height

LEAST_POLYGON = 6  # numbers: three points


def drawn(outline: Outline | WrittenOutline, size: Size) -> np.ndarray:
    """(H, W) uint8 of 0 and 1, by COCO's own rule for which pixels are inside."""
    return _masks_of_coco().decode(_code(outline, size))


def box_of(outline: Outline | WrittenOutline, size: Size) -> list[float]:
    """x, y, width, height of what is drawn."""
    return _masks_of_coco().toBbox(_code(outline, size)).tolist()


def area_of(outline: Outline | WrittenOutline, size: Size) -> float:
    """Pixels that are drawn."""
    return float(_masks_of_coco().area(_code(outline, size)))


def compressed(code: dict[str, Any]) -> dict[str, Any]:
    """COCO's run-length code, of counts in a list or in text, in its short form. Raises ValueError for what is none."""
    size, counts = code.get("size"), code.get("counts")
    if not (isinstance(size, list) and len(size) == 2 and all(type(side) is int and side > 0 for side in size)):
        raise ValueError(f"run-length code of size {shortened(size)}; expected [height, width]")
    if not isinstance(counts, list | str):
        raise ValueError(f"run-length code with counts {shortened(counts)}; expected a list or text")
    try:
        return _masks_of_coco().segmToRle({"size": size, "counts": counts}, size[1], size[0])
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"run-length code with counts {shortened(counts)} that mean nothing") from error


def _code(outline: Outline | WrittenOutline, size: Size) -> dict[str, Any]:
    """COCO's run-length code."""
    return outline if isinstance(outline, dict) else _masks_of_coco().segmToRle(list(outline), *size)


def _masks_of_coco() -> Any:
    return need("faster_coco_eval.core.mask", extra="detect")


class Outlines(Sequence[Outline | None]):
    """An outline, or None, for each object; starts empty.

    A million objects in a few long arrays: processes that load data share these without copying them, which they
    cannot do with a million small ones, since whoever looks at those counts references in them.
    """

    def __init__(self) -> None:
        self._numbers = array("d")  # of all polygons
        self._polygons = array("q", [0])  # where each begins, and the last one ends, among the numbers
        self._outlines = array("q", [0])  # where each begins, and the last one ends, among the polygons
        self._codes: dict[int, dict[str, Any]] = {}

    def append(self, outline: WrittenOutline | None) -> None:
        if isinstance(outline, dict):
            self._codes[len(self)] = outline
            outline = None
        for polygon in outline or ():
            self._numbers.extend(polygon)
            self._polygons.append(len(self._numbers))
        self._outlines.append(len(self._polygons) - 1)

    def __len__(self) -> int:
        return len(self._outlines) - 1

    def __getitem__(self, place: int) -> Outline | None:  # type: ignore[override]  # one at a time
        first, end = self._outlines[place], self._outlines[place + 1]
        if first == end:
            return self._codes.get(place)
        numbers = np.frombuffer(self._numbers)
        return [numbers[self._polygons[p] : self._polygons[p + 1]] for p in range(first, end)]

"""Which pixels belong to an object, as COCO's files say it: polygons, or a run-length encoding (RLE)."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from reprlib import repr as shortened
from typing import Any, NamedTuple

import numpy as np

from ...optional_dependencies import need
from ...preprocessing import Size

# In pixels: polygons of x, y, x, y ..., or COCO's RLE, {"size": [height, width], "counts": ...}.
Segmentation = Sequence[np.ndarray] | dict[str, Any]
WrittenSegmentation = Sequence[Sequence[float]] | dict[str, Any]  # as files have it

SHORTEST_POLYGON = 6  # numbers: three points


def rasterised(segmentation: Segmentation | WrittenSegmentation, size: Size) -> np.ndarray:
    """(H, W) uint8 of 0 and 1, by COCO's own rule for which pixels are inside.

    Raises ValueError or RuntimeError, as the library does, for an RLE that means nothing.
    """
    return _mask_library().decode(rle_of(segmentation, size))


def box_of(segmentation: Segmentation | WrittenSegmentation, size: Size) -> list[float]:
    """x, y, width, height of the pixels inside."""
    return _mask_library().toBbox(rle_of(segmentation, size)).tolist()


def area_of(segmentation: Segmentation | WrittenSegmentation, size: Size) -> float:
    """How many pixels are inside."""
    return float(_mask_library().area(rle_of(segmentation, size)))


def compressed_rle(rle: dict[str, Any]) -> dict[str, Any]:
    """COCO's RLE, of counts in a list or in text, with its counts in text. Raises ValueError for what is none."""
    size, counts = rle.get("size"), rle.get("counts")
    if not (isinstance(size, list) and len(size) == 2 and all(type(side) is int and side > 0 for side in size)):
        raise ValueError(f"run-length code of size {shortened(size)}; expected [height, width]")
    if not isinstance(counts, list | str):
        raise ValueError(f"run-length code with counts {shortened(counts)}; expected a list or text")
    try:
        return _encoded({"size": size, "counts": counts}, (size[0], size[1]))
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"run-length code with counts {shortened(counts)} that mean nothing") from error


def rle_of(segmentation: Segmentation | WrittenSegmentation, size: Size) -> dict[str, Any]:
    """As COCO's RLE, with its counts in text."""
    return segmentation if isinstance(segmentation, dict) else _encoded(list(segmentation), size)


def run_ends(rle: dict[str, Any], size: Size) -> np.ndarray:
    """(runs,) int64: after how many pixels, counted down the columns, each run of 0, 1, 0 ... ends.

    Raises ValueError or RuntimeError for an RLE that means nothing, or does not fill the image.
    """
    runs = need("faster_coco_eval.mask_api_new_cpp", extra="detect").toUncompressedRLE([rle])
    ends = np.cumsum(runs[0]["counts"], dtype=np.int64)
    if not len(ends) or ends[-1] != size[0] * size[1]:
        raise ValueError(f"runs of {ends[-1] if len(ends) else 0} pixels in an image of {size[0] * size[1]}")
    return ends


def _encoded(segmentation: Any, size: Size) -> dict[str, Any]:
    """The RLE with counts in text of polygons, or of another RLE."""
    height, width = size
    return _mask_library().segmToRle(segmentation, width, height)


def _mask_library() -> Any:
    return need("faster_coco_eval.core.mask", extra="detect")


class PolygonReach(NamedTuple):
    """Of each of P polygons, how far its numbers go."""

    owner: np.ndarray  # (P,) int64: the index of its object
    numbers: np.ndarray  # (P,) int64: how many there are, two for each point
    lowest: np.ndarray  # (P,) float64, on either axis
    highest: np.ndarray  # (P,) float64


class Segmentations(Sequence[Segmentation | None]):
    """A segmentation, or None, for each object.

    A million objects in a few long arrays: processes that load data share these without copying them, which they
    cannot do with a million small ones, since whoever looks at those counts references in them.
    """

    def __init__(self, segmentations: Iterable[WrittenSegmentation | None] = ()) -> None:
        self._numbers = array("d")  # of all polygons
        self._polygons = array("q", [0])  # where each begins, and the last one ends, among the numbers
        self._objects = array("q", [0])  # where those of each object begin, and of the last one end, among the polygons
        self._rles: dict[int, dict[str, Any]] = {}
        for segmentation in segmentations:
            self.append(segmentation)

    def append(self, segmentation: WrittenSegmentation | None) -> None:
        if isinstance(segmentation, dict):
            self._rles[len(self)] = segmentation
            segmentation = None
        for polygon in segmentation or ():
            self._numbers.extend(polygon)
            self._polygons.append(len(self._numbers))
        self._objects.append(len(self._polygons) - 1)

    def __len__(self) -> int:
        return len(self._objects) - 1

    def there(self) -> np.ndarray:
        """(N,) bool: which objects have a segmentation."""
        polygons = np.diff(np.frombuffer(self._objects, dtype=np.int64)) > 0
        polygons[list(self._rles)] = True
        return polygons

    @property
    def rles(self) -> Mapping[int, dict[str, Any]]:
        """Those in run-length code, by the index of their object."""
        return self._rles

    def reach(self) -> PolygonReach:
        """Of all the polygons, in the order of their objects; each must have numbers."""
        starts, numbers = np.frombuffer(self._polygons, dtype=np.int64), np.frombuffer(self._numbers)
        lowest, highest = (extreme.reduceat(numbers, starts[:-1]) for extreme in (np.minimum, np.maximum))
        ends = np.frombuffer(self._objects, dtype=np.int64)[1:]
        owner = np.searchsorted(ends, np.arange(len(starts) - 1), side="right")
        return PolygonReach(owner, starts[1:] - starts[:-1], lowest, highest)

    def __getitem__(self, index: int) -> Segmentation | None:  # type: ignore[override]  # one at a time
        first, end = self._objects[index], self._objects[index + 1]
        if first == end:
            return self._rles.get(index)
        numbers = np.frombuffer(self._numbers)
        return [numbers[self._polygons[p] : self._polygons[p + 1]] for p in range(first, end)]

"""Objects that cannot be meant as they are annotated, by what is odd about them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from operator import itemgetter

import numpy as np

from ...preprocessing import Size
from ..annotation_errors import FEW, Examples, ExamplesByKind
from .box_formats import in_other_formats
from .dataset import LEAST_SIDE, BoxedImages, Objects, corners_of, learnable
from .polygons import extents_of_points

# Kinds, in the order in which they are given.
EMPTY = "images without objects"
CROWDS = "crowds, not learnt from"
NO_AREA = "boxes of less than a pixel, left out"
OUTSIDE = "boxes outside of their images, left out"
CLIPPED = "boxes that reach out of their images, clipped"
TWICE = "objects annotated twice, of one class in almost the same box"
DISAGREEING = "boxes that disagree with their segmentations, which are not learnt where they lie elsewhere"
NO_PIXEL = "segmentations without a pixel, whose objects are learnt by their box alone"
NO_SEGMENTATION = "objects without a segmentation, learnt by their box alone"
NO_MASKS = "objects without a segmentation, more than have one, so that no masks are learnt"
KINDS = (EMPTY, CROWDS, NO_AREA, OUTSIDE, CLIPPED, TWICE, DISAGREEING, NO_PIXEL, NO_SEGMENTATION, NO_MASKS)

SAME_BOX = 0.9  # IoU from which on two boxes are almost the same
AGREEMENT, ROUNDING = 0.5, 2.0  # a box agrees with a segmentation of that IoU, or if each side is so many pixels off


# What is wrong with boxes that were written in another format, the surest sign first.
REACHING = "boxes that reach out of their images, or lie outside"
WRONG = {
    DISAGREEING: "disagree with their segmentations",
    REACHING: "reach out of their images",
    NO_AREA: "are of less than a pixel",
}


MOST, SOME, ALL = 0.5, 0.25, 0.99  # shares of boxes: see `WrongBoxes.error`


@dataclass(frozen=True)
class WrongBoxes:
    """How many boxes were looked at, which of them are wrong in some way, and how many other formats make right.

    Those of two shares of the images add up to those of both.
    """

    seen: int = 0
    wrong: Examples = Examples()
    fitting: Counter[str] = field(default_factory=Counter)  # of all that were seen

    def __add__(self, other: WrongBoxes) -> WrongBoxes:
        return WrongBoxes(self.seen + other.seen, self.wrong + other.wrong, self.fitting + other.fitting)

    def error(self, wrong: str, written: str) -> str | None:
        """The error where most boxes are `wrong`, or some are and another format makes all right.

        `written` is the format in which boxes should be.
        """
        likely, right = max(self.fitting.items(), key=itemgetter(1), default=("", 0))
        like_another = right >= ALL * self.seen
        if not self.seen or self.wrong.count <= (SOME if like_another else MOST) * self.seen:
            return None
        advice = f"they look like {likely}: write {written}" if like_another else f"write {written}, in pixels"
        return f"{self.wrong.count} of {self.seen} boxes {wrong}: {self.wrong}; {advice}"


class WrongBoxesByKind(dict[str, WrongBoxes]):
    """Of several kinds; those of two are added up kind by kind."""

    def __add__(self, other: WrongBoxesByKind) -> WrongBoxesByKind:
        kinds = sorted(self.keys() | other.keys())
        return WrongBoxesByKind({kind: self.get(kind, WrongBoxes()) + other.get(kind, WrongBoxes()) for kind in kinds})

    def error(self, written: str) -> tuple[str, str] | None:
        """The kind that makes data unfit for training, if one does, and the line that says so.

        `written` is the format in which boxes should be.
        """
        lines = ((kind, self[kind].error(wrong, written)) for kind, wrong in WRONG.items() if kind in self)
        return next(((kind, line) for kind, line in lines if line), None)


def find_odd_objects(images: BoxedImages, index: int, size: Size) -> tuple[ExamplesByKind, WrongBoxesByKind]:
    """Those of one image, which is of this size. Raises AnnotationError for a segmentation that means nothing."""
    objects = images.objects[index]
    inside, kept = learnable(objects, size)
    ordinary = ~objects.crowd
    some_area = ordinary & (objects.boxes[:, 2:] >= LEAST_SIDE).all(axis=1)
    reaching = some_area & (np.abs(corners_of(objects.boxes) - inside) > 1).any(axis=1)

    segmented = ordinary & np.array([segmentation is not None for segmentation in objects.segmentations], dtype=bool)
    extents = _extents(images, index, objects, segmented, inside, size)
    no_pixel = segmented & (extents[:, 2] == 0)
    compared = segmented & some_area & ~no_pixel
    formats = in_other_formats(objects.boxes, images.box_format, size)
    otherwise = np.stack(list(formats.values()))  # (formats, N, 4)
    agree = _agree(np.concatenate([inside[None], otherwise]), extents)  # (1 + formats, N)
    disagreeing = compared & ~agree[0]

    odd = {
        CROWDS: objects.crowd,
        NO_AREA: ordinary & ~some_area,
        OUTSIDE: some_area & ~kept,
        CLIPPED: kept & reaching,
        TWICE: ordinary & _repeated(objects),
        DISAGREEING: disagreeing,
        NO_PIXEL: no_pixel,
        NO_SEGMENTATION if images.has_masks else NO_MASKS: ordinary & ~segmented,
    }
    kinds = ExamplesByKind({kind: _examples(images, index, which) for kind, which in odd.items() if which.any()})
    if not len(objects):
        kinds[EMPTY] = Examples.one(images.name(index))

    lie_inside = _lie_inside(otherwise, size)

    def wrong(which: np.ndarray, seen: np.ndarray, right: np.ndarray) -> WrongBoxes:
        fitting = Counter(dict(zip(formats, (right @ seen.astype(np.int64)).tolist(), strict=True)))
        return WrongBoxes(int(seen.sum()), _examples(images, index, which), fitting)

    return kinds, WrongBoxesByKind(
        {
            NO_AREA: wrong(odd[NO_AREA], ordinary, lie_inside),
            REACHING: wrong(reaching, some_area, lie_inside),
            DISAGREEING: wrong(disagreeing, compared, agree[1:]),
        }
    )


def _extents(
    images: BoxedImages, index: int, objects: Objects, which: np.ndarray, boxes: np.ndarray, size: Size
) -> np.ndarray:
    """(N, 4): x0, y0, x1, y1 around the pixels of some objects' segmentations, zeros for others and without a pixel.

    Of polygons that surely have pixels, and whose points agree with their box, around the points: most are not
    rasterised. `which` are those looked at, (N,) bool, `boxes` (N, 4) x0, y0, x1, y1.
    """
    extents, closer = np.zeros((len(objects), 4)), which.copy()
    polygons = {at: s for at, s in enumerate(objects.segmentations) if which[at] and s and not isinstance(s, dict)}
    if polygons:
        around, have_pixels = extents_of_points(list(polygons.values()))
        within = ((around >= 0) & (around <= np.array([size[1], size[0]] * 2))).all(axis=1)
        extents[list(polygons)] = around
        closer[list(polygons)] = ~(have_pixels & within & _agree(boxes[list(polygons)], around))
    if closer.any():
        extents[closer] = images.masks(index, np.flatnonzero(closer), size).extents
    return extents


def _examples(images: BoxedImages, index: int, which: np.ndarray) -> Examples:
    positions = np.flatnonzero(which)
    if not len(positions):  # as a rule
        return Examples()
    return Examples(len(positions), tuple(images.object_name(index, position) for position in positions[:FEW]))


def _lie_inside(corners: np.ndarray, size: Size) -> np.ndarray:
    """(..., N) bool: which of (..., N, 4) boxes x0, y0, x1, y1 are large enough, and lie in an image of this size."""
    height, width = size
    some_area = (corners[..., 2:] - corners[..., :2] >= LEAST_SIDE).all(axis=-1)
    return some_area & ((corners >= -1) & (corners <= np.array([width, height] * 2) + 1)).all(axis=-1)


def _agree(corners: np.ndarray, extents: np.ndarray) -> np.ndarray:
    """(..., N) bool: which of (..., N, 4) boxes are about what is around a segmentation, (N, 4)."""
    close = (np.abs(corners - extents) <= ROUNDING).all(axis=-1)
    return close | (_iou(corners, extents) >= AGREEMENT)


def _iou(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(..., N): of each of (..., N, 4) boxes x0, y0, x1, y1 with one other; 0 for boxes without area."""
    common = _area(np.concatenate([np.maximum(one, other)[..., :2], np.minimum(one, other)[..., 2:]], axis=-1))
    return common / np.maximum(_area(one) + _area(other) - common, 1e-9)


def _area(corners: np.ndarray) -> np.ndarray:
    sides = (corners[..., 2:] - corners[..., :2]).clip(0)
    return sides[..., 0] * sides[..., 1]


def _repeated(objects: Objects) -> np.ndarray:
    """(N,) bool: which objects are of the class of an object before them, in almost the same box.

    In the order of class and left side, boxes whose IoU reaches a share lie within the rest of a width of each other.
    """
    order = np.lexsort((objects.boxes[:, 0], objects.labels))
    labels, boxes = objects.labels[order], corners_of(objects.boxes[order])
    repeated = np.zeros(len(objects), dtype=bool)
    for apart in range(1, len(objects)):
        one, other = boxes[:-apart], boxes[apart:]
        near = (labels[:-apart] == labels[apart:]) & (
            other[:, 0] - one[:, 0] <= (1 - SAME_BOX) * (one[:, 2] - one[:, 0])
        )
        if not near.any():
            break
        same = near & (_iou(one, other) >= SAME_BOX)
        repeated[np.maximum(order[:-apart], order[apart:])[same]] = True
    return repeated

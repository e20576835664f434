"""The check of boxes before training: what would stop it, what is odd, and how often each class occurs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from ...recipes import DetectRecipe
from ..annotation_errors import FEW, Examples, ExamplesByKind, a_few
from ..check_results import TRAINING, VALIDATION, CheckedPart, DatasetStatistics, ImageSizes, Tally, dataset_statistics
from ..checks import file_errors, file_warnings, missing_classes, tally_over_ranks
from ..images import size_of, upright_size
from .dataset import LEAST_SIDE, BoxedImages, learnable

CHUNK = 64  # images that a worker counts before it hands over their tally
FEW_HEADERS, FEW_IMAGES = 1000, 100  # of which this process reads so many before workers could have started
AREAS = (32**2, 96**2)  # pixels from which on COCO calls objects medium, and large

# Kinds of warnings, in the order in which they are given.
EMPTY = "images without objects"
CROWDS = "crowds, not learnt from"
NO_AREA = "boxes of less than a pixel, left out"
OUTSIDE = "boxes outside of their images, left out"
CLIPPED = "boxes that reach out of their images, clipped"
NO_SEGMENTATION = "objects without a segmentation where others have one, so that no masks are learnt"
KINDS = (EMPTY, CROWDS, NO_AREA, OUTSIDE, CLIPPED, NO_SEGMENTATION)


@dataclass(frozen=True)
class BoxTally(Tally):
    """What was counted in some images with boxes."""

    objects: Counter[tuple[int, int]] = field(default_factory=Counter)  # by label, and how many of AREAS they reach
    segmentations: int = 0  # objects that have one

    def by_area(self, label: int) -> tuple[int, int, int]:
        """How many objects of a class are learnt from: small, medium and large ones."""
        return self.objects[label, 0], self.objects[label, 1], self.objects[label, 2]


def check_boxes(
    parts: Mapping[str, BoxedImages], recipe: DetectRecipe, decode: bool = False
) -> dict[str, CheckedPart[BoxTally]]:
    """Check each part; every rank must call, and reads its share.

    With `decode` images are decoded and masks rasterised; otherwise only the images' headers are read.
    """
    checked = {}
    for part, images in parts.items():
        tally = tally_over_ranks(
            partial(count_boxes, images, decode),
            BoxTally(),
            len(images),
            recipe.workers,
            f"checking boxes, {part}",
            CHUNK,
            FEW_IMAGES if decode else FEW_HEADERS,
        )
        checked[part] = checked_boxes(images, tally, recipe.bad_images == "skip")
    if both := _in_both(parts):
        warning = f"images that are in training as well: {a_few(both[:FEW], len(both), '; ')}"
        val = checked[VALIDATION]
        checked[VALIDATION] = replace(val, warnings=(*val.warnings, warning))
    return checked


def box_statistics(parts: Mapping[str, BoxedImages], recipe: DetectRecipe) -> DatasetStatistics:
    """How often each class occurs in each part, how large its objects are, and what is wrong."""

    def describe(part: str, tally: BoxTally) -> str:
        images = parts[part]
        if not tally.sizes.extremes:
            return f"{len(images)} images with boxes, of which none can be used"
        segmentations = "with segmentations" if images.has_masks else "without segmentations"
        return f"{len(images)} images, {tally.sizes}; {tally.objects.total()} objects, {segmentations}"

    classes = next(iter(parts.values())).classes
    checked = check_boxes(parts, recipe, decode=True)
    return dataset_statistics(checked, describe, classes, ("objects", "images", "S/M/L %"), _cells)


def _cells(tally: BoxTally, label: int) -> tuple[str, str, str]:
    by_area = tally.by_area(label)
    count = sum(by_area)
    return str(count), str(tally.images[label]), "/".join(f"{100 * some / max(count, 1):.0f}" for some in by_area)


def _in_both(parts: Mapping[str, BoxedImages]) -> list[str]:
    """Files that are in training and in validation: metrics of these say nothing."""
    train, val = (parts[part].images if part in parts else () for part in (TRAINING, VALIDATION))
    return sorted(map(str, set(train) & set(val)))


def checked_boxes(images: BoxedImages, tally: BoxTally, skip_unreadable: bool = False) -> CheckedPart[BoxTally]:
    """Errors and warnings that follow from the tally of all of `images`.

    Unreadable files are errors, or warnings where they are skipped.
    """
    errors = [*images.errors, *file_errors(tally, skip_unreadable)]
    if not errors and not tally.objects:
        folder = images.images[0].parent
        errors = [f"{folder}: no object to learn from or to be measured by in any of {len(images)} images"]
    return CheckedPart(tally, tuple(errors), tuple(_warnings(images, tally, skip_unreadable)))


def _warnings(images: BoxedImages, tally: BoxTally, skip_unreadable: bool) -> Iterator[str]:
    yield from images.warnings
    yield from file_warnings(tally, KINDS if tally.segmentations else KINDS[:-1], skip_unreadable)
    if twice := [str(image) for image, count in Counter(images.images).items() if count > 1]:
        yield f"images that are listed more than once: {a_few(sorted(twice)[:FEW], len(twice), '; ')}"
    if missing := missing_classes(tally, images.classes):
        yield missing


def count_boxes(images: BoxedImages, decode: bool, index: int) -> BoxTally:
    """The tally of one image. Raises UnreadableImageError, and AnnotationError as `BoxedImages.read` does.

    With `decode` it reads the image and rasterises masks; otherwise it reads the image's header, which has its size.
    """
    size = size_of(images.read(index, channels=3)[0]) if decode else upright_size(images.images[index])
    images.check_size(index, size)
    objects = images.objects[index]
    inside, kept = learnable(objects, size)
    labels = objects.labels[kept].tolist()
    reached = np.searchsorted(AREAS, objects.areas[kept], side="right").tolist()
    return BoxTally(
        images=Counter(set(labels)),
        warnings=_odd_objects(images, index, inside, kept),
        sizes=ImageSizes(frozenset([size])),
        objects=Counter(zip(labels, reached, strict=True)),
        segmentations=sum(segmentation is not None for segmentation in objects.segmentations),
    )


def _odd_objects(images: BoxedImages, index: int, inside: np.ndarray, kept: np.ndarray) -> ExamplesByKind:
    """By kind; `inside` and `kept` are as from `learnable`."""
    objects = images.objects[index]
    corner, side = objects.boxes[:, :2], objects.boxes[:, 2:]
    some_area = (side >= LEAST_SIDE).all(axis=1)
    reaching_out = (np.abs(np.hstack([corner, corner + side]) - inside) > 1).any(axis=1)
    boxes_alone = np.array([segmentation is None for segmentation in objects.segmentations], dtype=bool)
    odd = {
        CROWDS: objects.crowd,
        NO_AREA: ~objects.crowd & ~some_area,
        OUTSIDE: ~objects.crowd & some_area & ~kept,
        CLIPPED: kept & reaching_out,
        NO_SEGMENTATION: ~objects.crowd & boxes_alone,
    }
    examples = ExamplesByKind(
        {kind: _examples(images, index, np.flatnonzero(which)) for kind, which in odd.items() if which.any()}
    )
    if not len(objects):
        examples[EMPTY] = Examples.one(images.name(index))
    return examples


def _examples(images: BoxedImages, index: int, positions: np.ndarray) -> Examples:
    return Examples(len(positions), tuple(images.object_name(index, position) for position in positions[:FEW]))

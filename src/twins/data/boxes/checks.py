"""The check of boxes before training: what would stop it, what is odd, and how often each class occurs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from ...recipes import DetectRecipe
from ..annotation_errors import FEW, a_few
from ..check_results import CheckedPart, DatasetStatistics, ImageSizes, Tally, dataset_statistics
from ..checks import file_errors, file_warnings, missing_classes, tally_over_ranks, unusual_images
from .dataset import BoxedImages, learnable
from .odd_objects import KINDS, NO_MASKS, NO_SEGMENTATION, WrongBoxesByKind, find_odd_objects

CHUNK = 64  # images that a worker counts before it hands over their tally
FEW_HEADERS, FEW_IMAGES = 1000, 100  # of which this process reads so many before workers could have started
AREAS = (32**2, 96**2)  # pixels from which on COCO calls objects medium, and large


@dataclass(frozen=True)
class BoxTally(Tally):
    """What was counted in some images with boxes."""

    objects: Counter[tuple[int, int]] = field(default_factory=Counter)  # by label, and how many of AREAS they reach
    segmentations: int = 0  # objects that have one
    wrong_boxes: WrongBoxesByKind = field(default_factory=WrongBoxesByKind)

    def by_area(self, label: int) -> tuple[int, int, int]:
        """How many objects of a class are learnt from: small, medium and large ones."""
        return self.objects[label, 0], self.objects[label, 1], self.objects[label, 2]


def check_boxes(
    parts: Mapping[str, BoxedImages], recipe: DetectRecipe, decode: bool = False
) -> dict[str, CheckedPart[BoxTally]]:
    """Check each part; every rank must call, and reads its share.

    With `decode` images are decoded; otherwise only their headers are read.
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


def checked_boxes(images: BoxedImages, tally: BoxTally, skip_unreadable: bool = False) -> CheckedPart[BoxTally]:
    """Errors and warnings that follow from the tally of all of `images`.

    Unreadable files are errors, or warnings where they are skipped.
    """
    errors = [*images.errors, *file_errors(tally, skip_unreadable)]
    kinds = KINDS if tally.segmentations else [kind for kind in KINDS if kind not in (NO_SEGMENTATION, NO_MASKS)]
    if miswritten := tally.wrong_boxes.error(images.box_format):
        kinds = [kind for kind in kinds if kind != miswritten[0]]
        errors.append(miswritten[1])
    if not errors and not tally.objects:
        folder = images.images[0].parent
        errors = [f"{folder}: no object to learn from or to be measured by in any of {len(images)} images"]
    return CheckedPart(tally, tuple(errors), tuple(_warnings(images, tally, kinds, skip_unreadable)))


def _warnings(images: BoxedImages, tally: BoxTally, kinds: Sequence[str], skip_unreadable: bool) -> Iterator[str]:
    yield from images.warnings
    yield from file_warnings(tally, kinds, skip_unreadable)
    if twice := [str(image) for image, count in Counter(images.images).items() if count > 1]:
        yield f"images that are listed more than once: {a_few(sorted(twice)[:FEW], len(twice), '; ')}"
    if missing := missing_classes(tally, images.classes):
        yield missing


def count_boxes(images: BoxedImages, decode: bool, index: int) -> BoxTally:
    """The tally of one image. Raises UnreadableImageError, and AnnotationError as `BoxedImages.read` does.

    With `decode` it reads the image; otherwise the image's header, which has its size.
    """
    decoded = images.open(index, channels=3) if decode else None
    header = images.header(index)
    size = header.size
    images.check_size(index, size)
    objects = images.objects[index]
    _, kept = learnable(objects, size)
    labels = objects.labels[kept].tolist()
    reached = np.searchsorted(AREAS, objects.areas[kept], side="right").tolist()
    kinds, wrong_boxes = find_odd_objects(images, index, size)
    return BoxTally(
        images=Counter(set(labels)),
        warnings=kinds,
        sizes=ImageSizes(frozenset([size])),
        unusual=unusual_images(images.name(index), header, decoded),
        objects=Counter(zip(labels, reached, strict=True)),
        segmentations=sum(segmentation is not None for segmentation in objects.segmentations),
        wrong_boxes=wrong_boxes,
    )

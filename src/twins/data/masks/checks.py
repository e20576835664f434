"""The check of masks before training: what would stop it, what is odd, and how often each class occurs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from ...class_names import numbered
from ...recipes import SegmentRecipe
from ..annotation_errors import Examples, ExamplesByKind
from ..check_results import TRAINING, CheckedPart, DatasetStatistics, ImageSizes, Tally, dataset_statistics
from ..checks import file_errors, file_warnings, missing_classes, tally_over_ranks, unusual_images
from .dataset import IGNORED, MaskedImages
from .transforms import crop_error

FEW_MASKS = 100  # this process reads so many before workers could have started
BLACK_AND_WHITE = "255 is no class: for black and white masks list `rest,0,0,0` and `thing,255,255,255` in classes.txt"
EMPTY = "no pixel of any class in the mask"  # a kind of warnings


@dataclass(frozen=True)
class MaskTally(Tally):
    """What was counted in some masks."""

    pixels: Counter[int] = field(default_factory=Counter)  # of each label, and IGNORED

    @property
    def of_classes(self) -> int:
        """Pixels of any class."""
        return self.pixels.total() - self.pixels[IGNORED]


def check_masks(
    parts: Mapping[str, MaskedImages], recipe: SegmentRecipe, decode: bool = False
) -> tuple[tuple[str, ...], dict[str, CheckedPart[MaskTally]]]:
    """The names of the classes, numbers where nobody has named them, and the outcome for each part.

    Every rank must call, and reads its share. With `decode` images are decoded too; otherwise only their headers are
    read.
    """
    tallies = {
        part: tally_over_ranks(
            partial(count_pixels, images, decode),
            MaskTally(),
            len(images),
            recipe.workers,
            f"checking masks, {part}",
            chunk=1,
            few=FEW_MASKS,
        )
        for part, images in parts.items()
    }
    classes = classes_of(next(iter(parts.values())), sum(tallies.values(), MaskTally()))
    skip = recipe.bad_images == "skip"
    checked = {part: checked_masks(parts[part].with_classes(classes), tally, skip) for part, tally in tallies.items()}
    return classes, checked


def mask_statistics(parts: Mapping[str, MaskedImages], recipe: SegmentRecipe) -> DatasetStatistics:
    """How often each class occurs in each part, and what is wrong."""

    def describe(part: str, tally: MaskTally) -> str:
        images = f"{len(parts[part])} images with masks"
        if not tally.sizes.extremes:
            return f"{images}, of which none can be used"
        ignored = _percent(tally.pixels[IGNORED], tally.pixels.total())
        return f"{images}, {tally.sizes}; {ignored} of pixels are of no class"

    classes, checked = check_masks(parts, recipe, decode=True)
    statistics = dataset_statistics(checked, describe, classes, ("images", "of pixels"), _cells)
    if TRAINING in checked and (error := crop_error(recipe, checked[TRAINING].tally.sizes.extremes)):
        return replace(statistics, errors=(*statistics.errors, error))
    return statistics


def _cells(tally: MaskTally, label: int) -> tuple[str, str]:
    return str(tally.images[label]), _percent(tally.pixels[label], tally.of_classes)


def _percent(count: int, total: int) -> str:
    return f"{100 * count / max(total, 1):.2f} %"


def classes_of(images: MaskedImages, tally: MaskTally) -> tuple[str, ...]:
    """The names of the classes where they have some, else numbers up to the largest label in the tally of all parts."""
    largest = max((label for label in tally.pixels if label != IGNORED), default=-1)
    return images.classes or numbered(largest + 1)


def checked_masks(images: MaskedImages, tally: MaskTally, skip_unreadable: bool = False) -> CheckedPart[MaskTally]:
    """Errors and warnings that follow from the tally of all of `images`, whose classes have names.

    Unreadable files are errors, or warnings where they are skipped.
    """
    errors = file_errors(tally, skip_unreadable) or _errors_of_all(images, tally)
    return CheckedPart(tally, tuple(errors), tuple(_warnings(images, tally, skip_unreadable)))


def _errors_of_all(images: MaskedImages, tally: MaskTally) -> list[str]:
    """What is wrong with all files together, where nothing is wrong with any."""
    folder = images.masks[0].parent
    if not tally.sizes.extremes:
        return [f"{folder}: none of the images with masks can be read"]
    if not tally.images:
        return [f"{folder}: no pixel of any class in all these masks; {BLACK_AND_WHITE}"]
    if len(images.classes) < 2:
        hint = f"; {BLACK_AND_WHITE}" if IGNORED in tally.pixels else ""
        return [f"{folder}: fewer than two classes in these masks{hint}"]
    return []


def _warnings(images: MaskedImages, tally: MaskTally, skip_unreadable: bool) -> Iterator[str]:
    yield from images.warnings
    yield from file_warnings(tally, (EMPTY,), skip_unreadable)
    if missing := missing_classes(tally, images.classes):
        yield f"{missing}; {BLACK_AND_WHITE}" if tally.pixels.keys() == {0, IGNORED} else missing


def count_pixels(images: MaskedImages, decode: bool, index: int) -> MaskTally:
    """The tally of one mask. Raises UnreadableImageError, and AnnotationError as `MaskedImages.read` does.

    Where classes have no names, every label from 0 to 254 is taken for one. The image itself is decoded only with
    `decode`; otherwise its header is read, which has its size.
    """
    decoded = images.open(index, channels=3) if decode else None
    mask = images.read_mask(index)
    header = images.header(index)
    images.check_size(index, header.size, mask)
    counts = np.bincount(mask.numpy().ravel(), minlength=IGNORED + 1)
    pixels = Counter({int(label): int(counts[label]) for label in np.flatnonzero(counts)})
    labels = pixels.keys() - {IGNORED}
    return MaskTally(
        images=Counter(labels),
        warnings=ExamplesByKind() if labels else ExamplesByKind({EMPTY: Examples.one(images.name(index))}),
        sizes=ImageSizes(frozenset([header.size])),
        unusual=unusual_images(images.name(index), header, decoded),
        pixels=pixels,
    )

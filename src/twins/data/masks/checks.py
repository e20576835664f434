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
from .dataset import MaskedImages
from .decoding import IGNORED
from .grey_levels import grey_level_error
from .transforms import crop_error

FEW_MASKS = 100  # this process reads so many before workers could have started
EMPTY = "no pixel of any class in the mask"  # a kind of warnings


@dataclass(frozen=True)
class MaskTally(Tally):
    """What was counted in some masks."""

    pixels: Counter[int] = field(default_factory=Counter)  # of each label, and IGNORED
    approximated: int = 0  # pixels whose class is that of the nearest colour

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
    images, total = next(iter(parts.values())), sum(tallies.values(), MaskTally())
    skip = recipe.bad_images == "skip"
    if error := _nameless_error(images, total):
        return (), {part: CheckedPart(tally, (error,), parts[part].warnings) for part, tally in tallies.items()}
    classes = classes_of(images, total)
    return classes, {
        part: checked_masks(parts[part].with_classes(classes), tally, skip, part == TRAINING)
        for part, tally in tallies.items()
    }


def _nameless_error(images: MaskedImages, tally: MaskTally) -> str | None:
    """What is wrong where nobody has named the classes, and the masks' values cannot be their numbers."""
    if images.classes or images.coding.threshold is not None:
        return None
    error = grey_level_error(tally.pixels)
    return error and f"{images.masks[0].parent}: {error}"


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
    notes = dict.fromkeys(note for images in parts.values() for note in images.notes)
    statistics = replace(statistics, parts=(*statistics.parts, *notes))
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


def checked_masks(
    images: MaskedImages, tally: MaskTally, skip_unreadable: bool = False, training: bool = True
) -> CheckedPart[MaskTally]:
    """Errors and warnings that follow from the tally of all of `images`, whose classes have names.

    Unreadable files are errors, or warnings where they are skipped. Images for training have two classes at least.
    """
    errors = file_errors(tally, skip_unreadable) or _errors_of_all(images, tally, training)
    return CheckedPart(tally, tuple(errors), tuple(_warnings(images, tally, skip_unreadable)))


def _errors_of_all(images: MaskedImages, tally: MaskTally, training: bool) -> list[str]:
    """What is wrong with all files together, where nothing is wrong with any."""
    folder = images.masks[0].parent
    if not tally.sizes.extremes:
        return [f"{folder}: none of the images with masks can be read"]
    if not tally.images:
        return [f"{folder}: no pixel of any class in all these masks; {_why_left_out(images)}"]
    if training and len(tally.images) < 2:
        alone = images.classes[next(iter(tally.images))]
        cause = f"; {_why_left_out(images)}" if IGNORED in tally.pixels or images.coding.threshold else ""
        return [f"{folder}: fewer than two classes in these masks: {alone!r} alone is left to learn{cause}"]
    return []


def _why_left_out(images: MaskedImages) -> str:
    """By which setting pixels are of no class, and what to do where they are of one."""
    coding = images.coding
    if coding.threshold is not None:
        return f"no grey level on the other side of --mask-threshold {coding.threshold:g}"
    if coding.reduce_zero_label:
        return "--reduce-zero-label leaves 0 and 255 out: masks whose classes count from 0 go without it"
    if coding.ignore_index != IGNORED or coding.colours:
        return f"--ignore-index {coding.ignore_index} leaves pixels out: pass one that is no class"
    first, second = images.classes[:2] if len(images.classes) == 2 else ("rest", "thing")
    return (
        f"255 is no class: for black and white masks list `{first},0,0,0` and `{second},255,255,255` in classes.txt, "
        "or pass --mask-threshold 128"
    )


def _warnings(images: MaskedImages, tally: MaskTally, skip_unreadable: bool) -> Iterator[str]:
    yield from images.warnings
    yield from file_warnings(tally, (EMPTY,), skip_unreadable)
    if tally.approximated:
        yield f"{_percent(tally.approximated, tally.pixels.total())} of pixels have the class of the nearest colour"
    if missing := missing_classes(tally, images.classes):
        yield f"{missing}; {hint}" if (hint := _why_missing(images, tally)) else missing


def _why_missing(images: MaskedImages, tally: MaskTally) -> str | None:
    """Where a setting is likely to be why a class never occurs: how so."""
    last = len(images.classes) - 1
    only_last = tally.images.keys() == set(range(last))
    if tally.pixels.keys() == {0, IGNORED} or (images.coding.reduce_zero_label and only_last and last):
        return _why_left_out(images)
    return None


def count_pixels(images: MaskedImages, decode: bool, index: int) -> MaskTally:
    """The tally of one mask. Raises UnreadableImageError, and AnnotationError as `MaskedImages.read` does.

    Where classes have no names, every label from 0 to 254 is taken for one. The image itself is decoded only with
    `decode`; otherwise its header is read, which has its size.
    """
    decoded = images.open(index, channels=3) if decode else None
    mask, approximated = images.decode(index)
    header = images.header(index)
    images.check_size(index, header.size, mask.shape)
    counts = np.bincount(mask.ravel(), minlength=IGNORED + 1)
    pixels = Counter({int(label): int(counts[label]) for label in np.flatnonzero(counts)})
    labels = pixels.keys() - {IGNORED}
    return MaskTally(
        images=Counter(labels),
        warnings=ExamplesByKind() if labels else ExamplesByKind({EMPTY: Examples.one(images.name(index))}),
        sizes=ImageSizes(frozenset([header.size])),
        unusual=unusual_images(images.name(index), header, decoded),
        pixels=pixels,
        approximated=approximated,
    )

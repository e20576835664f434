"""The check of labelled images before training: what would stop it, what is odd, and how often each class occurs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

from ...recipes import ClassifyRecipe
from ..annotation_errors import ExamplesByKind
from ..check_results import TRAINING, VALIDATION, CheckedPart, DatasetStatistics, ImageSizes, Tally, dataset_statistics
from ..checks import file_errors, file_warnings, missing_classes, tally_over_ranks, unusual_images
from ..duplicates import duplicates_warning
from ..image_source import ImageSource
from ..images import read_header, size_of
from .dataset import LabelledImages

CHUNK = 16  # images that a worker counts before it hands over their tally
FEW_IMAGES = 100  # this process reads so many before workers could have started


def check_labelled(parts: Mapping[str, LabelledImages], recipe: ClassifyRecipe) -> dict[str, CheckedPart[Tally]]:
    """Decode all images of each part; every rank must call, and reads its share."""
    checked = {}
    for part, images in parts.items():
        tally = tally_over_ranks(
            partial(count_image, images, recipe.in_chans),
            Tally(),
            len(images),
            0 if images.in_memory else recipe.workers,
            f"checking images, {part}",
            CHUNK,
            FEW_IMAGES,
        )
        checked[part] = checked_images(images, tally, recipe.bad_images == "skip")
    if TRAINING in parts and (twice := _in_both(parts[TRAINING], parts[VALIDATION])):
        val = checked[VALIDATION]
        checked[VALIDATION] = replace(val, warnings=(*val.warnings, *twice))
    return checked


def label_statistics(parts: Mapping[str, LabelledImages], recipe: ClassifyRecipe) -> DatasetStatistics:
    """How many images of each class are in each part, how large they are, and what is wrong."""

    def describe(part: str, tally: Tally) -> str:
        count = f"{len(parts[part])} images"
        return f"{count}, {tally.sizes}" if tally.sizes.extremes else f"{count}, of which none can be used"

    classes = next(iter(parts.values())).classes
    return dataset_statistics(check_labelled(parts, recipe), describe, classes, ("images",), _cells)


def count_image(images: LabelledImages, channels: int, index: int) -> Tally:
    """The tally of one image. Raises UnreadableImageError."""
    image, file = images.open(index, channels), images.images[index]
    unusual = ExamplesByKind()
    if isinstance(file, ImageSource):
        unusual = unusual_images(images.name(index), read_header(file, images.reading), image)
    return Tally(
        images=Counter([int(images.labels[index])]), sizes=ImageSizes(frozenset([size_of(image)])), unusual=unusual
    )


def checked_images(images: LabelledImages, tally: Tally, skip_unreadable: bool = False) -> CheckedPart[Tally]:
    """Errors and warnings that follow from the tally of all of `images`.

    Unreadable files are errors, or warnings where they are skipped.
    """
    errors = file_errors(tally, skip_unreadable)
    if not errors and not tally.images:
        errors = [f"{images.name(0)}: neither this image nor any other can be read"]
    return CheckedPart(tally, tuple(errors), tuple(_warnings(images, tally, skip_unreadable)))


def _warnings(images: LabelledImages, tally: Tally, skip_unreadable: bool) -> Iterator[str]:
    yield from images.warnings
    yield from file_warnings(tally, (), skip_unreadable)
    if missing := missing_classes(tally, images.classes):
        yield missing


def _cells(tally: Tally, label: int) -> tuple[str]:
    return (str(tally.images[label]),)


def _in_both(training: LabelledImages, validation: LabelledImages) -> tuple[str, ...]:
    if training.in_memory or validation.in_memory:
        return ()
    return duplicates_warning(list(training.images), list(validation.images))

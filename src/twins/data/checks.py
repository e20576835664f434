"""The check of a data set before training, as far as it is the same whatever the annotations are.

Every rank counts its share of the images; the tallies of all add up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Generic, TypeVar

import numpy as np
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from ..distributed.collectives import all_gather_object, share_of
from ..progress import Progress
from .annotation_errors import FEW, AnnotationError, Examples, ExamplesByKind, a_few
from .check_results import Tally
from .images import ImageHeader, UnreadableImageError
from .loading import default_workers, ignore_stop_signals
from .waiting import end_workers

NEARLY_BLACK = 16  # of 255: what an image of 12 bits comes to that is read as one of 16

T = TypeVar("T", bound=Tally)
Count = Callable[[int], T]  # the tally of one image. May raise UnreadableImageError and AnnotationError


def tally_over_ranks(
    count: Count[T], nothing: T, images: int, workers: int | None, description: str, chunk: int, few: int
) -> T:
    """The tally of all `images`, of which each rank counts its share; every rank must call.

    A rank with no more than `few` images uses no worker processes: it is done before they could have started. Without
    a number of `workers` there is one a core. `description` stands beside the progress.
    """
    share = share_of(images)
    if len(share) <= few:
        workers = 0
    elif workers is None:
        workers = default_workers()
    progress = Progress(description, math.ceil(len(share) / chunk), shown=share.start == 0)
    return sum(all_gather_object(tally_images(count, nothing, share, workers, chunk, progress)), nothing)


def tally_images(
    count: Count[T],
    nothing: T,
    indices: Iterable[int],
    workers: int = 0,
    chunk: int = 1,
    progress: Progress | None = None,
) -> T:
    """The tally of the images at these indices. Raises nothing for bad files: it counts them.

    `nothing` is the tally of no images. Each of so many `workers` beside this process hands over the tallies of `chunk`
    images at a time.
    """

    def total(tallies: Iterable[T]) -> T:
        return sum(tallies, nothing)

    tallies = DataLoader(
        _Tallies(count, nothing),
        batch_size=chunk,
        sampler=list(indices),
        num_workers=workers,
        collate_fn=total,
        worker_init_fn=ignore_stop_signals,
        persistent_workers=workers > 0,
    )
    try:
        return total(progress.over(tallies) if progress else tallies)
    finally:
        end_workers(tallies)


class _Tallies(Dataset[T], Generic[T]):
    """The tally of each image, in which a bad file counts as such."""

    def __init__(self, count: Count[T], nothing: T) -> None:
        self.count, self.nothing = count, nothing

    def __getitem__(self, index: int) -> T:
        try:
            return self.count(index)
        except UnreadableImageError as error:
            return replace(self.nothing, unreadable=Examples.one(str(error)))
        except AnnotationError as error:
            return replace(self.nothing, errors=ExamplesByKind({error.advice: Examples.one(error.what)}))


def unusual_images(name: str, header: ImageHeader, decoded: Image.Image | None = None) -> ExamplesByKind:
    """The tally of an image whose pixels are not just 8-bit ones, as far as its header tells, or it decoded as well."""
    kinds = list(header.unusual)
    if header.deep and decoded is not None and int(np.asarray(decoded).max()) <= NEARLY_BLACK:
        kinds.append("images of more than 8 bits that are nearly black so: with 12 bits in use pass --bit-depth 12")
    return ExamplesByKind({kind: Examples.one(name) for kind in kinds})


def file_errors(tally: Tally, skip_unreadable: bool) -> list[str]:
    """What is wrong with some files, a line for each piece of advice."""
    errors = [f"{files}; {advice}" for advice, files in tally.errors.items()]
    if tally.unreadable.count and not skip_unreadable:
        errors.append(f"unreadable: {tally.unreadable}; fix these files, or pass --bad-images skip")
    return errors


def file_warnings(tally: Tally, kinds: Sequence[str], skip_unreadable: bool) -> Iterator[str]:
    """Unreadable images that are skipped, images of unusual pixels, and odd annotations in the order of these kinds."""
    if tally.unreadable.count and skip_unreadable:
        yield f"unreadable, left out: {tally.unreadable}"
    for kind, examples in tally.unusual.items():
        yield f"{examples.count} {kind}: {examples}"
    for kind in kinds:
        if kind in tally.warnings:
            yield f"{kind}: {tally.warnings[kind]}"


def missing_classes(tally: Tally, classes: Sequence[str]) -> str | None:
    """The warning of classes that never occur, if there are any."""
    missing = [name for label, name in enumerate(classes) if not tally.images[label]]
    return f"classes that never occur: {a_few(missing[:FEW], len(missing))}" if missing else None

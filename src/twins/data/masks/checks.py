"""A look through all masks before training: what would stop it, what is odd, and how often each class occurs.

Every process looks at its share; the tallies add up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ...class_names import numbered
from ...progress import Progress
from ..annotation_errors import FEW, AnnotationError, Named, a_few, added
from ..images import UnreadableImageError, read_image, upright_size
from ..loading import leave_stopping_to_the_main_process
from .dataset import IGNORED, MaskedImages

BLACK_AND_WHITE = "255 is no class: for black and white masks list `rest,0,0,0` and `thing,255,255,255` in classes.txt"
Size = tuple[int, int]  # width, height
T = TypeVar("T")


@dataclass(frozen=True)
class Tally:
    """What was seen in some masks. Tallies of two shares add up to the tally of both, in any order."""

    pixels: Counter[int] = field(default_factory=Counter)  # of each label, and IGNORED
    images: Counter[int] = field(default_factory=Counter)  # in which a label occurs
    problems: dict[str, Named] = field(default_factory=dict)  # by what to do about them
    unreadable: Named = Named()
    empty: Named = Named()  # images without one pixel of a class
    sizes: tuple[Size, ...] = ()  # of the smallest and the largest image
    longest: tuple[Size, ...] = ()  # of the most elongated one

    def __add__(self, other: Tally) -> Tally:
        by_area = sorted(self.sizes + other.sizes, key=lambda size: (size[0] * size[1], size))
        return Tally(
            self.pixels + other.pixels,
            self.images + other.images,
            added(self.problems, other.problems),
            self.unreadable + other.unreadable,
            self.empty + other.empty,
            tuple(by_area[:1] + by_area[-1:]),
            tuple(sorted(self.longest + other.longest, key=lambda size: (max(size) / min(size), size))[-1:]),
        )


@dataclass(frozen=True)
class MaskFindings:
    """The outcome, in words and metrics."""

    errors: tuple[str, ...]  # what makes training impossible; each names files
    warnings: tuple[str, ...]
    pixels: tuple[int, ...]  # of each class
    images: tuple[int, ...]  # in which each class occurs
    ignored: int  # pixels
    sizes: tuple[Size, ...]  # (width, height) of the smallest and the largest image; () without any
    longest: tuple[Size, ...]  # of the most elongated one

    @property
    def extremes(self) -> tuple[Size, ...]:
        """If none of these images fills a crop, none at all does."""
        return self.sizes + self.longest


def examine(
    images: MaskedImages, indices: Iterable[int], workers: int, progress: Progress | None = None, decode: bool = False
) -> Tally:
    """The tally of these images, by so many processes beside this one. Raises nothing for bad files: it counts them.

    Where classes are not named, every label from 0 to 254 is taken for one. Masks are read; of images the head
    alone, which tells their size, unless `decode` asks for the whole.
    """
    looks = DataLoader(
        _Looks(images, decode),
        batch_size=None,
        sampler=list(indices),
        num_workers=workers,
        collate_fn=_as_is,
        worker_init_fn=leave_stopping_to_the_main_process,
    )
    tally = Tally()
    for look in progress.over(looks) if progress else looks:
        tally += look
    return tally


def settle_classes(images: MaskedImages, tally: Tally) -> tuple[str, ...]:
    """The names of the classes: as told, or numbers up to the largest in `tally`, which is to cover all parts."""
    largest = max((label for label in tally.pixels if label != IGNORED), default=-1)
    return images.classes or numbered(largest + 1)


def findings(images: MaskedImages, tally: Tally, skip_unreadable: bool = False) -> MaskFindings:
    """What the tally of all of `images`, whose classes are settled, comes to.

    Unreadable files are errors, or warnings where they are to be skipped.
    """
    labels = range(len(images.classes))
    return MaskFindings(
        tuple(_errors(images, tally, skip_unreadable)),
        tuple(_warnings(images, tally, skip_unreadable)),
        tuple(tally.pixels[label] for label in labels),
        tuple(tally.images[label] for label in labels),
        tally.pixels[IGNORED],
        tally.sizes,
        tally.longest,
    )


def _errors(images: MaskedImages, tally: Tally, skip_unreadable: bool) -> list[str]:
    """What is wrong with some files; or, where nothing is, with all of them together."""
    errors = [f"{files}; {advice}" for advice, files in tally.problems.items()]
    if tally.unreadable.count and not skip_unreadable:
        errors.append(f"unreadable: {tally.unreadable}; fix these files, or pass --bad-images skip")
    if errors:
        return errors
    folder = images.masks[0].parent
    if not tally.sizes:
        return [f"{folder}: none of the images with masks can be read"]
    if not tally.pixels.keys() - {IGNORED}:
        return [f"{folder}: no pixel of any class in all these masks; {BLACK_AND_WHITE}"]
    if len(images.classes) < 2:
        hint = f"; {BLACK_AND_WHITE}" if IGNORED in tally.pixels else ""
        return [f"{folder}: fewer than two classes in these masks{hint}"]
    return []


def _warnings(images: MaskedImages, tally: Tally, skip_unreadable: bool) -> Iterator[str]:
    yield from images.unpaired
    if tally.unreadable.count and skip_unreadable:
        yield f"unreadable, left out: {tally.unreadable}"
    if tally.empty.count:
        yield f"no pixel of any class in the mask: {tally.empty}"
    missing = [name for label, name in enumerate(images.classes) if not tally.pixels[label]]
    if missing:
        hint = f"; {BLACK_AND_WHITE}" if tally.pixels.keys() == {0, IGNORED} else ""
        yield f"classes that never occur: {a_few(missing[:FEW], len(missing))}{hint}"


class _Looks(Dataset[Tally]):
    """The tally of one image each."""

    def __init__(self, images: MaskedImages, decode: bool) -> None:
        self.images, self.decode = images, decode

    def __getitem__(self, index: int) -> Tally:
        try:
            if self.decode:
                read_image(self.images.images[index])
            mask = self.images.read_mask(index)
            size = upright_size(self.images.images[index])
            self.images.check_size(index, size, mask)
        except UnreadableImageError as error:
            return Tally(unreadable=Named.one(str(error)))
        except AnnotationError as error:
            return Tally(problems={error.advice: Named.one(error.what)})
        return _tally(self.images.name(index), mask, size)


def _tally(name: str, mask: torch.Tensor, size: Size) -> Tally:
    counts = np.bincount(mask.numpy().ravel(), minlength=IGNORED + 1)
    pixels = Counter({int(label): int(counts[label]) for label in np.flatnonzero(counts)})
    labels = pixels.keys() - {IGNORED}
    return Tally(pixels, Counter(labels), empty=Named() if labels else Named.one(name), sizes=(size,), longest=(size,))


def _as_is(look: T) -> T:
    return look

"""A look through all images and their objects before training: what would stop it, what is odd, what occurs.

Every process looks at its share; the tallies add up.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from torch.utils.data import DataLoader, Dataset

from ...progress import Progress
from ..annotation_errors import FEW, AnnotationError, Named, a_few, added
from ..images import UnreadableImageError, upright_size
from ..loading import leave_stopping_to_the_main_process
from .dataset import LEAST_SIDE, BoxedImages, Size, learnable

CHUNK = 64  # images that a process looks at before it reports
AREAS = (32**2, 96**2)  # pixels that COCO calls medium, and large

# What is odd, in the order in which it is told.
EMPTY = "images without objects"
CROWDS = "crowds, not learnt from"
NO_AREA = "boxes of less than a pixel, left out"
OUTSIDE = "boxes outside of their images, left out"
CLIPPED = "boxes that reach out of their images, clipped"
NO_OUTLINE = "objects without an outline where others have one, so that no masks are learnt"
ODD = (EMPTY, CROWDS, NO_AREA, OUTSIDE, CLIPPED, NO_OUTLINE)


@dataclass(frozen=True)
class BoxTally:
    """What was seen in some images. Tallies of two shares add up to the tally of both, in any order."""

    objects: Counter[tuple[int, int]] = field(
        default_factory=Counter
    )  # of each label, and how many of AREAS they reach
    images: Counter[int] = field(default_factory=Counter)  # in which a label occurs
    outlined: int = 0  # objects
    problems: dict[str, Named] = field(default_factory=dict)  # by what to do about them
    oddities: dict[str, Named] = field(default_factory=dict)  # by what is odd
    unreadable: Named = Named()
    sizes: tuple[Size, ...] = ()  # of the smallest and the largest image

    def __add__(self, other: BoxTally) -> BoxTally:
        by_area = sorted(self.sizes + other.sizes, key=lambda size: (math.prod(size), size))
        return BoxTally(
            self.objects + other.objects,
            self.images + other.images,
            self.outlined + other.outlined,
            added(self.problems, other.problems),
            added(self.oddities, other.oddities),
            self.unreadable + other.unreadable,
            tuple(by_area[:1] + by_area[-1:]),
        )


@dataclass(frozen=True)
class BoxFindings:
    """The outcome, in words and metrics."""

    errors: tuple[str, ...]  # what makes training impossible; each names files
    warnings: tuple[str, ...]
    objects: tuple[tuple[int, int, int], ...]  # of each class, to learn from: small, medium and large ones
    images: tuple[int, ...]  # in which each class occurs
    sizes: tuple[Size, ...]  # (width, height) of the smallest and the largest image; () without any


def examine(
    images: BoxedImages, indices: Iterable[int], workers: int, progress: Progress | None = None, decode: bool = False
) -> BoxTally:
    """The tally of these images, by so many processes beside this one. Raises nothing for bad files: it counts them.

    Of images the head alone is read, which tells their size, unless `decode` asks for the whole; then outlines are
    drawn, too.
    """
    looks = DataLoader(
        _Looks(images, decode),
        batch_size=CHUNK,
        sampler=list(indices),
        num_workers=workers,
        collate_fn=_sum,
        worker_init_fn=leave_stopping_to_the_main_process,
    )
    return _sum(progress.over(looks) if progress else looks)


def findings(images: BoxedImages, tally: BoxTally, skip_unreadable: bool = False) -> BoxFindings:
    """What the tally of all of `images` comes to. Unreadable files are errors, or warnings where they are skipped."""
    labels = range(len(images.classes))
    return BoxFindings(
        tuple(_errors(images, tally, skip_unreadable)),
        tuple(_warnings(images, tally, skip_unreadable)),
        tuple((tally.objects[label, 0], tally.objects[label, 1], tally.objects[label, 2]) for label in labels),
        tuple(tally.images[label] for label in labels),
        tally.sizes,
    )


def _errors(images: BoxedImages, tally: BoxTally, skip_unreadable: bool) -> list[str]:
    """What is wrong with some files; or, where nothing is, with all of them together."""
    errors = [*images.faults, *(f"{files}; {advice}" for advice, files in tally.problems.items())]
    if tally.unreadable.count and not skip_unreadable:
        errors.append(f"unreadable: {tally.unreadable}; fix these files, or pass --bad-images skip")
    if not errors and not tally.objects:
        folder = images.images[0].parent
        errors.append(f"{folder}: no object to learn from or to be measured by in any of {len(images)} images")
    return errors


def _warnings(images: BoxedImages, tally: BoxTally, skip_unreadable: bool) -> Iterator[str]:
    yield from images.oddities
    if tally.unreadable.count and skip_unreadable:
        yield f"unreadable, left out: {tally.unreadable}"
    for odd in ODD:
        if odd in tally.oddities and (odd != NO_OUTLINE or tally.outlined):
            yield f"{odd}: {tally.oddities[odd]}"
    if twice := [str(image) for image, count in Counter(images.images).items() if count > 1]:
        yield f"images that are listed more than once: {a_few(sorted(twice)[:FEW], len(twice), '; ')}"
    if missing := [name for label, name in enumerate(images.classes) if not tally.images[label]]:
        yield f"classes that never occur: {a_few(missing[:FEW], len(missing))}"


class _Looks(Dataset[BoxTally]):
    """The tally of one image each."""

    def __init__(self, images: BoxedImages, decode: bool) -> None:
        self.images, self.decode = images, decode

    def __getitem__(self, index: int) -> BoxTally:
        images = self.images
        try:
            size = images.read(index, channels=3)[0].size if self.decode else upright_size(images.images[index])
            images.check_size(index, size)
        except UnreadableImageError as error:
            return BoxTally(unreadable=Named.one(str(error)))
        except AnnotationError as error:
            return BoxTally(problems={error.advice: Named.one(error.what)})
        return _tally(images, index, size)


def _tally(images: BoxedImages, index: int, size: Size) -> BoxTally:
    objects = images.objects[index]
    inside, kept = learnable(objects, size)
    corner, side = objects.boxes[:, :2], objects.boxes[:, 2:]
    some_area = (side >= LEAST_SIDE).all(axis=1)
    reaching_out = (np.abs(np.hstack([corner, corner + side]) - inside) > 1).any(axis=1)
    outlined = np.array([outline is not None for outline in objects.outlines], dtype=bool)
    odd = {
        CROWDS: objects.crowd,
        NO_AREA: ~objects.crowd & ~some_area,
        OUTSIDE: ~objects.crowd & some_area & ~kept,
        CLIPPED: kept & reaching_out,
        NO_OUTLINE: ~objects.crowd & ~outlined,
    }
    named = {kind: _named(images, index, np.flatnonzero(which)) for kind, which in odd.items() if which.any()}
    if not len(objects):
        named[EMPTY] = Named.one(images.name(index))
    labels = objects.labels[kept].tolist()
    return BoxTally(
        Counter(zip(labels, np.searchsorted(AREAS, objects.areas[kept], side="right").tolist(), strict=True)),
        Counter(set(labels)),
        int(outlined.sum()),
        oddities=named,
        sizes=(size,),
    )


def _named(images: BoxedImages, index: int, places: np.ndarray) -> Named:
    return Named(len(places), tuple(images.object_name(index, place) for place in places[:FEW]))


def _sum(tallies: Iterable[BoxTally]) -> BoxTally:
    return sum(tallies, BoxTally())

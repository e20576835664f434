"""What is known of a data set once it has been checked: how often what occurs, errors, and warnings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Generic, Self, TypeVar

from ..errors import TwinsError
from ..preprocessing import Size
from .annotation_errors import Examples, ExamplesByKind
from .images import width_x_height

TRAINING, VALIDATION = "training", "validation"  # the parts of a data set


@dataclass(frozen=True)
class ImageSizes:
    """Of the sizes of some images, (height, width) each, those that `extremes` names."""

    sizes: frozenset[Size] = frozenset()

    @property
    def extremes(self) -> tuple[Size, ...]:
        """The smallest, the largest and the most elongated size; () without any images."""
        if not self.sizes:
            return ()
        return min(self.sizes, key=_area), max(self.sizes, key=_area), max(self.sizes, key=_elongation)

    def __add__(self, other: ImageSizes) -> ImageSizes:
        return ImageSizes(frozenset(ImageSizes(self.sizes | other.sizes).extremes))

    def __str__(self) -> str:
        """The smallest and the largest: "48 x 56 to 640 x 480"."""
        return " to ".join(dict.fromkeys(map(width_x_height, self.extremes[:2])))


def _area(size: Size) -> tuple[int, int]:
    """Of equal areas the narrower one first."""
    height, width = size
    return height * width, width


def _elongation(size: Size) -> tuple[float, int, int]:
    """Of equal ratios the narrower one first."""
    height, width = size
    return max(size) / min(size), width, height


@dataclass(frozen=True)
class Tally:
    """What was counted in some images. Tallies of two shares add up to the tally of both, in any order."""

    images: Counter[int] = field(default_factory=Counter)  # in which a label occurs
    errors: ExamplesByKind = field(default_factory=ExamplesByKind)  # annotations that cannot be used, by the advice
    warnings: ExamplesByKind = field(default_factory=ExamplesByKind)  # odd annotations, by what is odd
    unreadable: Examples = Examples()
    sizes: ImageSizes = ImageSizes()
    unusual: ExamplesByKind = field(default_factory=ExamplesByKind)  # images of other pixels than 8-bit ones, by kind

    def __add__(self, other: Self) -> Self:
        return type(self)(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})


T = TypeVar("T", bound=Tally)


@dataclass(frozen=True)
class CheckedPart(Generic[T]):
    """The outcome of checking one part of a data set."""

    tally: T
    errors: tuple[str, ...]  # each makes training impossible; a line each, which names files and says what to do
    warnings: tuple[str, ...]  # a line each


def raise_first_error(checked: Mapping[str, CheckedPart[T]]) -> None:
    """Raises TwinsError where a part has errors: the first one, and how many more there are."""
    for part in checked.values():
        if part.errors:
            more = f" ({len(part.errors) - 1} more kinds of errors)" if len(part.errors) > 1 else ""
            raise TwinsError(part.errors[0] + more)


def part_warnings(checked: Mapping[str, CheckedPart[T]]) -> list[str]:
    """The warnings of all parts, by the name of each."""
    return [f"{name}: {warning}" for name, part in checked.items() for warning in part.warnings]


@dataclass(frozen=True)
class DatasetStatistics:
    """Images in each part, a table with a row a class, errors that make training impossible, and warnings."""

    parts: tuple[str, ...]  # a line each
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    errors: tuple[str, ...]
    warnings: tuple[str, ...]


def dataset_statistics(
    checked: Mapping[str, CheckedPart[T]],
    describe: Callable[[str, T], str],
    classes: Sequence[str],
    columns: Sequence[str],
    cells: Callable[[T, int], Sequence[str]],
) -> DatasetStatistics:
    """The statistics of checked parts.

    `describe` makes the line of a part of its name and tally, `cells` the part's `columns` of a tally and a label.
    """
    titles = [title for part in checked for title in (f"{part}: {columns[0]}", *columns[1:])]
    rows = [
        (name, *(text for part in checked.values() for text in cells(part.tally, label)))
        for label, name in enumerate(classes)
    ]
    return DatasetStatistics(
        parts=tuple(f"{name}: {describe(name, part.tally)}" for name, part in checked.items()),
        columns=("class", *titles),
        rows=tuple(rows),
        errors=tuple(f"{name}: {error}" for name, part in checked.items() for error in part.errors),
        warnings=tuple(part_warnings(checked)),
    )

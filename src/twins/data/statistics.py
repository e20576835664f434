"""What a look through a data set comes to, whatever its annotations are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..errors import TwinsError

TRAINING, VALIDATION = "training", "validation"


@dataclass(frozen=True)
class Survey:
    """Images in each part, a table with a row a class, what makes training impossible, and what is merely odd."""

    parts: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    errors: tuple[str, ...]
    warnings: tuple[str, ...]


class Findings(Protocol):
    """What was found in a part of the data, in words."""

    @property
    def errors(self) -> tuple[str, ...]: ...

    @property
    def warnings(self) -> tuple[str, ...]: ...


def oddities(found: Mapping[str, Findings]) -> list[str]:
    """What is merely odd in each part. Raises TwinsError for what makes training impossible."""
    for of_part in found.values():
        if of_part.errors:
            more = f" ({len(of_part.errors) - 1} more kinds of errors)" if len(of_part.errors) > 1 else ""
            raise TwinsError(of_part.errors[0] + more)
    return [f"{part}: {warning}" for part, of_part in found.items() for warning in of_part.warnings]


def span(sizes: Sequence[tuple[int, int]]) -> str:
    """The smallest and the largest size in words: "48 x 56 to 640 x 480"."""
    return " to ".join(dict.fromkeys(f"{width} x {height}" for width, height in sizes))


def evenly(count: int, wanted: int) -> list[int]:
    """Up to `wanted` places among `count`, evenly spread: the samples to draw."""
    return sorted({place * count // wanted for place in range(wanted)}) if count else []

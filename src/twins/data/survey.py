"""What a look through a data set comes to, whatever its annotations are."""

from __future__ import annotations

from dataclasses import dataclass

TRAINING, HELD_OUT = "training", "held out"


@dataclass(frozen=True)
class Survey:
    """Pictures in each part, a table with a row a class, what makes training impossible, and what is merely odd."""

    parts: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    errors: tuple[str, ...]
    warnings: tuple[str, ...]


def evenly(count: int, wanted: int) -> list[int]:
    """Up to `wanted` places among `count`, evenly spread: the samples to draw."""
    return sorted({place * count // wanted for place in range(wanted)}) if count else []

"""Names of classes: of those that nobody named, and of those that a network knows already."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from .errors import TwinsError


def numbered(count: int) -> tuple[str, ...]:
    """The names of classes that nobody has named."""
    return tuple(str(label) for label in range(count))


def check_classes(here: Sequence[str], known: Sequence[str], source: str) -> None:
    """Raises TwinsError where `source` has other classes than the network knows, naming the first that differs."""
    for place, pair in enumerate(zip_longest(here, known)):
        if pair[0] != pair[1]:
            raise TwinsError(
                f"{source}: its {len(here)} classes are not the {len(known)} that the network knows: the one numbered "
                f"{place} is {pair[0]!r} here and {pair[1]!r} there"
            )

"""What is wrong with some files of many, counted, and the first few by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import TwinsError

FEW = 3  # names that a message gives of many


class AnnotationError(TwinsError):
    """A mask or an object that cannot be used.

    `what` names the file and says what is wrong, `advice` is the same for all such.
    """

    def __init__(self, what: str, advice: str = "") -> None:
        super().__init__(f"{what}; {advice}" if advice else what)
        self.what, self.advice = what, advice


@dataclass(frozen=True)
class Named:
    """How many there are of a kind, and the first few by name."""

    count: int = 0
    names: tuple[str, ...] = ()

    @classmethod
    def one(cls, name: str) -> Named:
        return cls(1, (name,))

    def __add__(self, other: Named) -> Named:
        return Named(self.count + other.count, tuple(sorted(self.names + other.names)[:FEW]))

    def __str__(self) -> str:
        return a_few(self.names, self.count, "; ")


def added(some: Mapping[str, Named], others: Mapping[str, Named]) -> dict[str, Named]:
    """Of each kind, those of both."""
    return {kind: some.get(kind, Named()) + others.get(kind, Named()) for kind in sorted(some.keys() | others.keys())}


def a_few(names: Sequence[str], count: int, separator: str = ", ") -> str:
    """Names out of `count` of a kind: "a, b and 12 more"."""
    more = f" and {count - len(names)} more" if count > len(names) else ""
    return separator.join(names) + more

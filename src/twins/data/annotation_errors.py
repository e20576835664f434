"""What is wrong with some files of many: how many there are of each kind, and the first few by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import TwinsError

FEW = 3  # names that a message gives of many


class AnnotationError(TwinsError):
    """A mask or an object that cannot be used.

    `what` names the file and says what is wrong; `advice`, how to fix it, is the same for all of a kind.
    """

    def __init__(self, what: str, advice: str = "") -> None:
        super().__init__(f"{what}; {advice}" if advice else what)
        self.what, self.advice = what, advice


@dataclass(frozen=True)
class Examples:
    """How many there are of a kind, and the first few by name."""

    count: int = 0
    names: tuple[str, ...] = ()

    @classmethod
    def one(cls, name: str) -> Examples:
        return cls(1, (name,))

    def __add__(self, other: Examples) -> Examples:
        return Examples(self.count + other.count, tuple(sorted(self.names + other.names)[:FEW]))

    def __str__(self) -> str:
        return a_few(self.names, self.count, "; ")


class ExamplesByKind(dict[str, Examples]):
    """Examples of several kinds; those of two are added up kind by kind."""

    def __add__(self, other: ExamplesByKind) -> ExamplesByKind:
        kinds = sorted(self.keys() | other.keys())
        return ExamplesByKind({kind: self.get(kind, Examples()) + other.get(kind, Examples()) for kind in kinds})


def a_few(names: Sequence[str], count: int, separator: str = ", ") -> str:
    """Names out of `count` of a kind: "a, b and 12 more"."""
    more = f" and {count - len(names)} more" if count > len(names) else ""
    return separator.join(names) + more

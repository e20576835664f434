"""Many names in little memory: a data set of a million files has as many, and each rank and worker holds them all."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Self, TypeVar, overload

import numpy as np

T = TypeVar("T")


class Packed(Sequence[T]):
    """A sequence that makes its items when they are asked for."""

    @abstractmethod
    def item(self, index: int) -> T:
        """The one at an index from 0."""

    @abstractmethod
    def take(self, indices: Sequence[int]) -> Self:
        """Those at these indices, in this order, packed as well."""

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        chosen = range(len(self))[index]
        return self.item(chosen) if isinstance(chosen, int) else [self.item(i) for i in chosen]


def those_at(items: Sequence[T], indices: Sequence[int]) -> Sequence[T]:
    """The items at these indices, in this order; packed where they were."""
    return items.take(indices) if isinstance(items, Packed) else [items[i] for i in indices]


class PackedStrings(Packed[str]):
    """N strings as their bytes and 8 more each.

    A list of a million names of 30 letters takes 90 MB, and its pages are copied in every worker process, since Python
    counts references in them. These are 38 MB, and shared.
    """

    def __init__(self, strings: Iterable[str]) -> None:
        encoded = [string.encode("utf-8", "surrogateescape") for string in strings]
        self._bytes = b"".join(encoded)
        self._ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __iter__(self) -> Iterator[str]:
        for start, end in pairwise(self._ends.tolist()):
            yield self._bytes[start:end].decode("utf-8", "surrogateescape")

    def item(self, index: int) -> str:
        return self._bytes[self._ends[index] : self._ends[index + 1]].decode("utf-8", "surrogateescape")

    def take(self, indices: Sequence[int]) -> PackedStrings:
        return PackedStrings(map(self.item, indices))

    @classmethod
    def joined(cls, parts: Sequence[PackedStrings]) -> PackedStrings:
        """All strings of all parts."""
        whole = cls(())
        whole._bytes = b"".join(part._bytes for part in parts)
        whole._ends = np.cumsum(np.concatenate([[0], *(np.diff(part._ends) for part in parts)]), dtype=np.int64)
        return whole


class PackedPaths(Packed[Path]):
    """N paths, packed as strings are."""

    def __init__(self, paths: Iterable[str] | PackedStrings) -> None:
        self.strings = paths if isinstance(paths, PackedStrings) else PackedStrings(paths)

    def __len__(self) -> int:
        return len(self.strings)

    def item(self, index: int) -> Path:
        return Path(self.strings.item(index))

    def take(self, indices: Sequence[int]) -> PackedPaths:
        return PackedPaths(self.strings.take(indices))

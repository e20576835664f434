"""The images of a job in a fixed order, whatever they are kept in: folders, lists, tar shards or Parquet files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, Protocol

from ...data.image_source import ImageSource
from ...data.steady_reading import is_lost
from ...errors import TwinsError


class ImageRecord(NamedTuple):
    """An image and what it is called in the rows about it."""

    name: str
    image: ImageSource


class ImageRecords(Protocol):
    """N images, of which any part can be had without those before it."""

    left_out: Sequence[str]  # lines for people: what else is in the sources

    def __len__(self) -> int: ...

    def between(self, start: int, stop: int) -> Iterator[ImageRecord]:
        """Those from `start` to before `stop`, in order. Raises TwinsError where their file cannot be read."""

    def check_there(self) -> None:
        """Raises TwinsError where all of them are gone, as with a mount, and none is to blame for it."""

    def digest(self) -> str:
        """The same for the same names in the same order; other where an image was added, removed or renamed."""


class TableColumns(NamedTuple):
    """The columns of Parquet files that are given by name; None: found by their names."""

    image: str | None = None
    name: str | None = None


BY_THEIR_NAMES = TableColumns()


def check_not_lost(path: Path) -> None:
    """Raises TwinsError where the folder or file that holds images is gone, or the folder empty."""
    if is_lost(path):
        raise TwinsError(
            f"{path}: gone or empty, with all the images in it (is the mount gone?); once it is back, the same command "
            "goes on"
        )


def digest_of(lines: Iterable[str]) -> str:
    """SHA-256 of texts, whatever is in them."""
    digest = sha256()
    for line in lines:
        encoded = line.encode("utf-8", "surrogateescape")
        digest.update(b"%d:" % len(encoded) + encoded)
    return digest.hexdigest()


def names_of_files(paths: Sequence[str]) -> list[str]:
    """What files are called: their names alone, or, where two are the same, the paths below the folder of all."""
    names = [os.path.basename(path) for path in paths]
    if len(set(names)) == len(names):
        return names
    root = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])
    return [os.path.relpath(path, root) for path in paths]

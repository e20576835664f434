"""Images in files of their own: found in folders, or named by a list."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

from ...data.sampling import evenly
from ...errors import TwinsError
from ..sources import PackedImages, find_packed_images
from .records import ImageRecord, check_not_lost, digest_of

STDIN = "-"
_SAMPLED = 100  # paths by which the folder is found that all images are in
_BOM = b"\xef\xbb\xbf"


class FileRecords:
    """N image files, some fifty bytes each: their paths, and where in these the names begin."""

    def __init__(self, images: PackedImages) -> None:
        self.images = images
        self.left_out: Sequence[str] = images.left_out

    @classmethod
    def found(cls, sources: Sequence[str]) -> FileRecords:
        """Image files and folders, as `find_images` finds and names them. Raises TwinsError as that does."""
        return cls(find_packed_images(sources))

    @classmethod
    def listed(cls, lists: Sequence[str]) -> FileRecords:
        """The files that lists name, in their order, as often as they name them, and called as they call them.

        Paths that are not absolute are below the folder of the list, or, of the standard input, the current one.
        Whether a file is there is found out when it is read. Raises TwinsError for a list that cannot be read or names
        nothing.
        """
        found: list[tuple[str, int]] = []
        for source in lists:
            folder = "" if source == STDIN else os.path.dirname(source)
            start = len(os.path.join(folder, ""))
            before = len(found)
            for name in _lines(source):
                absolute = os.path.isabs(name)
                found.append((name if absolute else os.path.join(folder, name), 0 if absolute else start))
            if len(found) == before:
                raise TwinsError(f"{_named(source)}: names no images; write one path a line")
        return cls(PackedImages((path for path, _ in found), (start for _, start in found)))

    def __len__(self) -> int:
        return len(self.images)

    def between(self, start: int, stop: int) -> Iterator[ImageRecord]:
        for index in range(start, stop):
            path, name = self.images.item(index)
            yield ImageRecord(name.as_posix(), path)

    def check_there(self) -> None:
        some = [os.path.dirname(self.images.paths.item(index)) for index in evenly(len(self), _SAMPLED)]
        if all(map(os.path.isabs, some)) or not any(map(os.path.isabs, some)):  # else they have no folder in common
            check_not_lost(Path(os.path.commonpath(some)))

    def digest(self) -> str:
        starts = self.images.starts.tolist()
        return digest_of(path[start:] for path, start in zip(self.images.paths, starts, strict=True))


def _lines(source: str) -> Iterator[str]:
    """The lines of a list that are not blank, as the names of files: bytes that are not UTF-8 stay what they are."""
    try:
        with nullcontext(sys.stdin.buffer) if source == STDIN else Path(source).open("rb") as file:
            for number, line in enumerate(file):
                name = (line.removeprefix(_BOM) if number == 0 else line).rstrip(b"\r\n")
                if name.strip():
                    yield os.fsdecode(name)
    except OSError as error:
        raise TwinsError(f"{_named(source)}: cannot be read ({error.strerror or error})") from error


def _named(source: str) -> str:
    return "the standard input" if source == STDIN else source

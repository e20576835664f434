"""Where the bytes of an image are: in a file of its own, in a member of a tar shard, or in memory already."""

from __future__ import annotations

import errno
import os
import stat
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple


class ShardMember(NamedTuple):
    """A member of an uncompressed tar file, found by its position."""

    shard: Path
    shard_name: str  # what messages call the shard: its path, or the pipe that it came through
    member: str
    offset: int  # of its first byte in the shard
    size: int  # bytes

    @property
    def suffix(self) -> str:
        return Path(self.member).suffix

    def __str__(self) -> str:
        return f"{self.shard_name}/{self.member}"


class ImageBytes(NamedTuple):
    """The bytes of an image, and the name that came with them, which is no path of this machine.

    Somebody sent them, or a row of a table holds them; where that has none they are empty.
    """

    name: str
    content: bytes

    @property
    def suffix(self) -> str:
        return Path(self.name).suffix

    def __str__(self) -> str:
        return self.name


ImageSource = Path | ShardMember | ImageBytes


def open_source(source: ImageSource) -> BinaryIO:
    """The bytes of an image, to be closed by whoever asks. Raises OSError, also for what is no regular file."""
    if isinstance(source, Path):
        _check_regular(source)
        return source.open("rb")
    return BytesIO(read_source(source))


def read_source(source: ImageSource, first: int | None = None) -> bytes:
    """All bytes of an image, or the first so many. Raises OSError as `open_source` does."""
    if isinstance(source, ImageBytes):
        if not source.content:
            raise OSError("holds no bytes of an image")
        return source.content[:first]
    if isinstance(source, ShardMember):
        path, start, size = source.shard, source.offset, source.size
    else:
        path, start, size = source, 0, -1
    wanted = size if first is None else first if size < 0 else min(first, size)
    _check_regular(path)
    with path.open("rb") as file:
        file.seek(start)
        content = file.read(wanted)
    if size >= 0 and len(content) < wanted:
        raise OSError(errno.EIO, "the shard is shorter than it was when it was indexed", str(path))
    return content


def size_of_source(source: ImageSource) -> int:
    """Bytes. Raises OSError for a file that is not there."""
    if isinstance(source, ImageBytes):
        return len(source.content)
    return source.size if isinstance(source, ShardMember) else source.stat().st_size


def _check_regular(path: Path) -> None:
    if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would keep us waiting for ever
        raise OSError("not a regular file")

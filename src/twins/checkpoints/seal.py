"""The seal of a checkpoint: a SHA-256 of all its bytes, as the comment with which a zip archive may end.

CRC-32s, which the archive holds of each entry, leave headers and the gaps between entries unwatched; a sealed file has
no byte that can change unnoticed. Readers that know nothing of it, `torch.load` among them, pass over the comment.
"""

from __future__ import annotations

import hashlib
import os
from typing import IO, Any, Literal

_PREFIX = b"twins-sha256:"
_COMMENT = len(_PREFIX) + 64  # bytes
_LENGTH = _COMMENT.to_bytes(2, "little")  # of the comment, as the last field before it says
_END = b"PK\5\6"  # with which the last record of an archive begins
_END_SIZE = 22  # of that record, the length of the comment included
_NO_COMMENT = b"\0\0"
_CHUNK = 1 << 20

Seal = Literal["whole", "broken", "none"]


class SealedWriter:
    """A file that an archive is written into, as `torch.save` does, from the first byte to the last.

    What is raised when writing fails is kept in `error`, since the archive's writer, in C++, forgets it.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.error: OSError | None = None
        self.hash: Any = hashlib.sha256()

    def write(self, data: bytes) -> int:
        try:
            self.file.write(data)
        except OSError as error:
            self.error = error
            raise
        self.hash.update(data)
        return len(data)

    def flush(self) -> None:
        self.file.flush()

    def seal(self) -> None:
        """Put the comment behind the archive."""
        self.file.seek(-len(_LENGTH), 2)
        self.file.write(_LENGTH + _PREFIX + self.hash.hexdigest().encode())
        self.file.flush()


def seal_of(file: IO[bytes]) -> Seal:
    """Whether a zip archive, opened for reading, is sealed, and the seal is that of the bytes which are there.

    An archive whose end is neither sealed nor as archives end is broken, too: its seal may be what was damaged. Raises
    OSError for a file that cannot be read.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - _COMMENT - _END_SIZE, 0))
    tail = file.read()
    comment = tail[-_COMMENT:]
    if not comment.startswith(_PREFIX):
        return "none" if _ends_as_archives_do(tail) else "broken"
    if tail[-_COMMENT - len(_LENGTH) : -_COMMENT] != _LENGTH:
        return "broken"
    file.seek(0)
    digest = _digest(file, size - _COMMENT - len(_LENGTH))
    return "whole" if comment == _PREFIX + digest.encode() else "broken"


def _digest(file: IO[bytes], count: int) -> str:
    """Of the next so many bytes, and of the end without a comment that the archive had when it was hashed."""
    found = hashlib.sha256()
    while count > 0 and (chunk := file.read(min(count, _CHUNK))):
        found.update(chunk)
        count -= len(chunk)
    found.update(_NO_COMMENT)
    return found.hexdigest()


def _ends_as_archives_do(tail: bytes) -> bool:
    """Whether there is no comment, or one of others: of another length than a seal's, and as long as stated."""
    if tail[-_END_SIZE:].startswith(_END) and tail.endswith(_NO_COMMENT):
        return True
    start = tail.rfind(_END)
    stated = int.from_bytes(tail[start + _END_SIZE - 2 : start + _END_SIZE], "little")
    return start >= 0 and stated == len(tail) - start - _END_SIZE != _COMMENT

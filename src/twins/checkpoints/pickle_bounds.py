"""What a pickle may ask for: it can take what it made before again and again, so that a few bytes stand for far more.

What is made of such is counted, and a pickle that makes more than its size explains is refused.
"""

from __future__ import annotations

import os
import pickle
from typing import IO, Any

# What a pickle may make of things that it has made before, counted as `extent_of` does: so many a byte of the file, and
# so many however small it is.
MADE_A_BYTE = 4
MADE_AT_LEAST = 100_000
_LARGEST_KEY = 1000  # of a dictionary or a set, counted likewise: each look at it goes through all that is in it


class BoundedFile:
    """A file of which no more is asked for at once than it has: whoever reads makes room for so many bytes first."""

    def __init__(self, file: IO[bytes]) -> None:
        position = file.tell()
        self.size = file.seek(0, os.SEEK_END)
        file.seek(position)
        self._read, self.readline = file.read, file.readline

    def read(self, count: int) -> bytes:
        """Raises EOFError for more than there is."""
        if count > self.size:
            raise EOFError("more is asked for than the file has")
        return self._read(count)


def extent_of(value: Any, enough: int) -> int:
    """How much there is to go through in a value: in lists, tuples and sets everything, as often as it is there.

    Of text, bytes and dictionaries the length counts. Beyond `enough` it is counted no further.
    """
    extent, left = 0, [value]
    while left and extent <= enough:
        item = left.pop()
        if isinstance(item, (tuple, list, set, frozenset)):
            if extent + len(item) > enough:
                return extent + len(item)
            left.extend(item)
        elif isinstance(item, (str, bytes, bytearray, dict)):
            extent += len(item)
        extent += 1
    return extent


def checked_key(key: Any) -> Any:
    """The key of a dictionary or an item of a set. Raises UnpicklingError for one that takes long to look at."""
    if isinstance(key, (tuple, frozenset)) and extent_of(key, _LARGEST_KEY) > _LARGEST_KEY:
        raise pickle.UnpicklingError("a key of a dictionary holds too much")
    return key

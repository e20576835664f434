"""Files of the validation part that are in training as well, byte for byte: metrics of these say nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from hashlib import blake2b

from .annotation_errors import Examples
from .image_source import ImageSource, read_source, size_of_source

_START = 4096  # bytes by which files of one size are told apart before they are read whole


def same_in_both(training: Sequence[ImageSource], validation: Sequence[ImageSource]) -> Examples:
    """How many validation files have a copy in training, and the first few as "validation file = training file".

    Files that cannot be read have none, nor those of which the training images have the very file, whose name says so.
    """
    trained_on = set(training)
    by_size: dict[int, list[ImageSource]] = defaultdict(list)
    for path in training:
        by_size[_size(path)].append(path)
    by_start: dict[int, dict[bytes, list[ImageSource]]] = {}  # of the training files of one size
    found = Examples()
    for path in validation:
        size = _size(path)
        if size <= 0 or size not in by_size or path in trained_on:
            continue
        if size not in by_start:
            by_start[size] = defaultdict(list)
            for other in by_size[size]:
                by_start[size][_start(other)].append(other)
        copy = next((other for other in by_start[size][_start(path)] if _same(path, other)), None)
        if copy is not None:
            found += Examples.one(f"{path} = {copy}")
    return found


def duplicates_warning(training: Sequence[ImageSource], validation: Sequence[ImageSource]) -> tuple[str, ...]:
    """A line about the validation part, or none."""
    found = same_in_both(training, validation)
    return (f"images that are in training as well, byte for byte: {found.count}, {found}",) if found.count else ()


def _size(source: ImageSource) -> int:
    try:
        return size_of_source(source)
    except OSError:
        return -1


def _start(source: ImageSource) -> bytes:
    try:
        return blake2b(read_source(source, first=_START), digest_size=16).digest()
    except OSError:
        return b""


def _same(one: ImageSource, other: ImageSource) -> bool:
    try:
        return read_source(one) == read_source(other)
    except OSError:
        return False

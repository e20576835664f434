"""Files of the validation part that are in training as well, byte for byte: metrics of these say nothing."""

from __future__ import annotations

import filecmp
from collections import defaultdict
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

from .annotation_errors import Examples

_START = 4096  # bytes by which files of one size are told apart before they are read whole


def same_in_both(training: Sequence[Path], validation: Sequence[Path]) -> Examples:
    """How many validation files have a copy in training, and the first few as "validation file = training file".

    Files that cannot be read have none, nor those of which the training images have the very file, whose name says so.
    """
    trained_on = set(training)
    by_size: dict[int, list[Path]] = defaultdict(list)
    for path in training:
        by_size[_size(path)].append(path)
    by_start: dict[int, dict[bytes, list[Path]]] = {}  # of the training files of one size
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


def duplicates_warning(training: Sequence[Path], validation: Sequence[Path]) -> tuple[str, ...]:
    """A line about the validation part, or none."""
    found = same_in_both(training, validation)
    return (f"images that are in training as well, byte for byte: {found.count}, {found}",) if found.count else ()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return blake2b(file.read(_START), digest_size=16).digest()
    except OSError:
        return b""


def _same(one: Path, other: Path) -> bool:
    try:
        return filecmp.cmp(one, other, shallow=False)
    except OSError:
        return False

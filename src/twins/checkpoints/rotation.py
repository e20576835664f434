"""The earlier checkpoints that a run keeps beside its newest: checkpoint.1.pth is the one before checkpoint.pth."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from ..atomic_write import name_beside
from ..errors import TwinsError
from .info import CheckpointInfo


def keep_earlier(path: Path, count: int) -> None:
    """Keep a checkpoint that is about to be replaced, and those before it, `count` of them; more are removed.

    `path` itself stays there all the time, and its content is not copied. Raises OSError.
    """
    for number in range(count - 1, 0, -1):
        if earlier(path, number).exists():
            os.replace(earlier(path, number), earlier(path, number + 1))
    if count and path.exists():
        also_as(path, earlier(path, 1))
    for number in _numbers_from(path, count + 1):
        earlier(path, number).unlink()


def also_as(path: Path, other: Path) -> None:
    """Let `other` be the file at `path`, too, in place of what it was; where a file may not have two names, a copy."""
    beside = name_beside(other)
    beside.unlink(missing_ok=True)
    try:
        try:
            os.link(path, beside)
        except OSError:
            _copy(path, beside)
        os.replace(beside, other)
    finally:  # of a file that has both names already, POSIX keeps both
        with contextlib.suppress(OSError):
            beside.unlink()


def earlier(path: Path, number: int) -> Path:
    """The checkpoint that was the newest before `number` later ones."""
    return path.with_name(f"{path.stem}.{number}{path.suffix}")


def newest_first(path: Path) -> list[Path]:
    """The checkpoint at `path`, whether it is there or not, and the earlier ones that are kept beside it."""
    return [path, *(earlier(path, number) for number in _numbers_from(path, 1))]


def newest_whole(path: Path, read: Callable[[Path], CheckpointInfo], say: Callable[[str], None]) -> CheckpointInfo:
    """What `read` makes of a checkpoint or, if that is damaged, of the one before it, which is said.

    Raises the TwinsError of the newest where none can be read.
    """
    damaged: list[TwinsError] = []
    for candidate in newest_first(path):
        try:
            info = read(candidate)
        except TwinsError as error:
            damaged.append(error)
            continue
        for why in damaged:
            say(str(why))
        if damaged:
            say(f"going on with the one before it, {candidate}")
        return info
    raise damaged[0]


def _numbers_from(path: Path, first: int) -> Iterator[int]:
    number = first
    while earlier(path, number).exists():
        yield number
        number += 1


def _copy(path: Path, other: Path) -> None:
    shutil.copyfile(path, other)
    with other.open("r+b") as file:
        os.fsync(file.fileno())

"""Images from disks and networks that fail now and then: read again a few times, and given up by name.

An image that a decoder refuses is broken, and stays so. One that the system cannot read (a file that is gone, a network
that does not answer, a mount that was lost) may be there again a moment later; if it is not, what counts is whether it
alone is gone, or the folder that all of them are in.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .images import UnreadableImageError
from .sampling import evenly
from .shards.naming import SHARD_SUFFIX
from .waiting import StalledError

PAUSES = (0.1, 0.4, 1.5)  # seconds before an image is read the second, third and fourth time: two seconds in all
MOST_WAITING = 20.0  # seconds of pauses in a row that brought no image back, after which each image gets one attempt
MOST_REPLACEMENTS = 32  # images that are tried for one sample of training
_SAMPLED = 100  # names by which the folder is found that all images are in

# What passes on local disks and networks, as far as this system knows it.
_PASSING = frozenset(
    getattr(errno, name)
    for name in (
        *("ENOENT", "ENOTDIR", "EIO", "EREMOTEIO", "ESTALE", "ENXIO", "ENODEV", "EAGAIN", "EBUSY", "EINTR"),
        *("ENOTCONN", "ETIMEDOUT", "ECONNRESET", "ECONNABORTED", "ECONNREFUSED", "ESHUTDOWN", "EHOSTDOWN"),
        *("EHOSTUNREACH", "ENETDOWN", "ENETUNREACH", "ENOLINK", "ECOMM", "EPIPE", "EMFILE", "ENFILE", "ENOMEM"),
    )
    if hasattr(errno, name)
)


class LostDataError(StalledError):
    """The folder that all images are in is gone or empty."""


class SteadyReader:
    """Reads images that may be unreadable for a moment.

    `read(index, channels)` is one of AnnotatedImages, and `name(index)`, for indices below `count`, tells where it is.
    """

    def __init__(self, read: Callable[[int, int], tuple[Any, Any]], name: Callable[[int], str], count: int) -> None:
        self._read, self._name, self._count = read, name, count
        self._given_up: set[int] = set()
        self._waited_for_nothing = 0.0  # seconds

    def read(self, index: int, channels: int) -> tuple[Any, Any]:
        """The image and its annotation, after up to len(PAUSES) more attempts.

        There is one attempt for an image that was given up before, and for every image once MOST_WAITING seconds have
        brought none back. Raises UnreadableImageError, as `read` itself, and LostDataError where the folder of all
        images is lost.
        """
        patient = index not in self._given_up and self._waited_for_nothing < MOST_WAITING
        for pause in (*(PAUSES if patient else ()), None):
            try:
                image = self._read(index, channels)
            except UnreadableImageError as error:
                if not _may_pass(error):
                    raise
                if pause is None:
                    self._given_up.add(index)
                    self._check_folder(str(error))
                    raise
                time.sleep(pause)
                self._waited_for_nothing += pause
            else:
                self._waited_for_nothing = 0.0
                return image
        raise AssertionError("the last attempt returns or raises")

    def _check_folder(self, unreadable: str) -> None:
        folder = self._folder()
        if folder is not None and is_lost(folder):
            raise LostDataError(
                f"{folder}: gone or empty, with all the images in it (is the mount gone?), noticed at {unreadable}; "
                "once it is back, `twins train --resume` goes on with a run"
            )

    def _folder(self) -> Path | None:
        """The folder or shard that all images are in; None where they are in none, as what comes through pipes."""
        names = {self._name(index) for index in evenly(self._count, _SAMPLED)}
        try:
            common = os.path.commonpath([os.path.dirname(name) for name in names])
        except ValueError:
            return None
        parts = Path(common).parts
        shard = next((depth for depth, part in enumerate(parts, 1) if part.endswith(SHARD_SUFFIX)), len(parts))
        return Path(*parts[:shard]) if parts else None


def is_lost(path: Path) -> bool:
    """Whether a folder is not there, cannot be listed, or is empty; a shard, whether it is not there."""
    try:
        if not path.is_dir():
            return not path.exists()
        with os.scandir(path) as entries:
            return next(entries, None) is None
    except OSError:
        return True


def _may_pass(error: UnreadableImageError) -> bool:
    """Whether the system could not read the image, for a reason that may be gone in a moment."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in _PASSING


def too_many(unreadable: tuple[str, ...] | list[str]) -> str:
    """The line about images of which none could replace the one before."""
    return (
        f"unreadable image {unreadable[0]}, and the {len(unreadable) - 1} after it as well: too many to leave out one "
        "by one; `twins data check` names all that are broken"
    )

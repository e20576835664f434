"""Files and folders that are whole at any moment, the old one or the new one, whatever stops the program."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import TwinsError

DISK_FULL = "is the disk full?"


@contextmanager
def atomic_file(
    path: Path, remedy: str = DISK_FULL, fsync: bool = True, before: Callable[[Path], None] | None = None
) -> Iterator[Path]:
    """Replace one file by another that is written under a temporary name beside it.

        with atomic_file(folder / "metrics.json") as beside:
            beside.write_text(json.dumps(metrics), encoding="utf-8")

    The temporary name has the suffix of `path`, by which libraries choose a format, and this process's number, so that
    two processes never write into one file. Missing parent folders are made. At the end the file takes the name `path`,
    after a call of `before` with the file that is whole by then; if anything is raised before that, it is removed and
    `path` stays as it was. With `fsync` its bytes and its name are on the disk at the end, so that it outlives a power
    cut too; that takes some milliseconds, too many for one file an image.

    Raises TwinsError for an OSError within: one line that names `path` and says what to do, which is `remedy`.
    """
    beside = name_beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        if fsync:
            with beside.open("r+b") as file:
                os.fsync(file.fileno())
        if before is not None:
            before(beside)
        os.replace(beside, path)
        if fsync:
            sync_folder(path.parent)
    except OSError as error:
        raise cannot_be_written(path, error, remedy) from error
    finally:
        with contextlib.suppress(OSError):  # its folder may be gone, or its disk broken, as said above
            beside.unlink()


@contextmanager
def atomic_folder(path: Path, remedy: str = DISK_FULL) -> Iterator[Path]:
    """Make a folder that is not there yet, as `atomic_file` does a file; the folder to fill is empty and made already.

    Where another process makes the same folder first, that one stays. Raises TwinsError for an OSError within.
    """
    beside = name_beside(path)
    try:
        beside.mkdir(parents=True)
        yield beside
        beside.rename(path)
    except OSError as error:
        if not path.is_dir():
            raise cannot_be_written(path, error, remedy) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


@contextmanager
def writing(path: Path, remedy: str = DISK_FULL) -> Iterator[None]:
    """What is written within goes into `path`: an OSError becomes a TwinsError that names it and says what to do."""
    try:
        yield
    except OSError as error:
        raise cannot_be_written(path, error, remedy) from error


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk, where its file system and the operating system can."""
    with contextlib.suppress(PermissionError, IsADirectoryError):  # Windows opens no folders
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):  # file systems that know no such thing
                raise
        finally:
            os.close(opened)


def remove_unfinished(folder: Path) -> None:
    """Remove what processes that were killed left half-written in a folder that only this one writes to now."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if re.match(r"\.\d+\.", path.name) and path.is_file():
            path.unlink(missing_ok=True)


def cannot_be_written(path: Path, error: OSError, remedy: str = DISK_FULL) -> TwinsError:
    """The one line for a file that an OSError kept from being written."""
    return TwinsError(f"{path}: cannot be written ({error.strerror or error}); {remedy}")


def name_beside(path: Path) -> Path:
    """The temporary name of a file that is to be `path`, by which `remove_unfinished` knows it."""
    return path.with_name(f".{os.getpid()}.{path.name}")

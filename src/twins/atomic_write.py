"""Files and folders that are whole at any moment, the old one or the new one, whatever stops the program."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import TwinsError


@contextmanager
def atomic_file(path: Path, remedy: str = "is the disk full?", fsync: bool = True) -> Iterator[Path]:
    """Replace one file by another that is written under a temporary name beside it.

        with atomic_file(folder / "metrics.json") as beside:
            beside.write_text(json.dumps(metrics), encoding="utf-8")

    The temporary name has the suffix of `path`, by which libraries choose a format, and this process's number, so that
    two processes never write into one file. Missing parent folders are made. At the end the file takes the name `path`;
    if anything is raised before that, it is removed and `path` stays as it was. With `fsync` its bytes are on the disk
    by then, so that it outlives a power cut too; that takes some milliseconds, too many for one file an image.

    Raises TwinsError for an OSError within: one line that names `path` and says what to do, which is `remedy`.
    """
    beside = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        if fsync:
            with beside.open("r+b") as file:
                os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        raise _cannot_be_written(path, error, remedy) from error
    finally:
        if beside.exists():
            beside.unlink()


@contextmanager
def atomic_folder(path: Path, remedy: str = "is the disk full?") -> Iterator[Path]:
    """Make a folder that is not there yet, as `atomic_file` does a file; the folder to fill is empty and made already.

    Where another process makes the same folder first, that one stays. Raises TwinsError for an OSError within.
    """
    beside = _beside(path)
    try:
        beside.mkdir(parents=True)
        yield beside
        beside.rename(path)
    except OSError as error:
        if not path.is_dir():
            raise _cannot_be_written(path, error, remedy) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _beside(path: Path) -> Path:
    return path.with_name(f".{os.getpid()}.{path.name}")


def _cannot_be_written(path: Path, error: OSError, remedy: str) -> TwinsError:
    return TwinsError(f"{path}: cannot be written ({error.strerror or error}); {remedy}")

"""Where an exported file is written: a name of its own, and all of it or nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..atomic_write import atomic_file
from ..errors import TwinsError
from .targets import Target


def destination(out: str | os.PathLike[str] | None, target: Target, name: str) -> Path:
    """Where to write: OUT, or a free name in runs/export. Raises TwinsError for another suffix than the target's."""
    if out is None:
        return _free_file(Path("runs", "export"), name, target.suffix)
    path = Path(out)
    if path.suffix != target.suffix:
        raise TwinsError(f"--out {path}: a file for {target.title} ends in {target.suffix}")
    if path.is_dir():
        raise TwinsError(f"--out {path}: is a folder: name a file in it")
    return path


def _free_file(folder: Path, name: str, suffix: str) -> Path:
    number, path = 1, folder / f"{name}{suffix}"
    while path.exists():
        number += 1
        path = folder / f"{name}{number}{suffix}"
    return path


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A file to write, moved to `path` at the end; an OpenVINO file together with its weights, these first.

    Errors in between name the file that is meant, not the one that is written.
    """
    with ExitStack() as files:
        beside = files.enter_context(atomic_file(path, remedy="choose another --out"))
        if path.suffix == ".xml":
            files.enter_context(atomic_file(path.with_suffix(".bin"), remedy="choose another --out"))
        try:
            yield beside
        except TwinsError as error:
            raise type(error)(str(error).replace(os.fspath(beside), os.fspath(path))) from error

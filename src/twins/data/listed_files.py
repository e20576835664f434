"""Where the files are that a list names, perhaps by the paths of another machine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from reprlib import Repr
from typing import NamedTuple

from .file_names import find_file
from .sampling import evenly

_TRIED = 100  # files that are looked for to find their folder
_DEEPEST = 32  # parts of a name that may be those of another machine


class LocatedFiles(NamedTuple):
    """The files of some names, in the same order, be they there or not."""

    files: list[Path]
    warning: str | None  # what names count as, where that is not the whole of them


def locate_files(names: Sequence[str], folders: Sequence[Path]) -> LocatedFiles | None:
    """The files below the first of these folders that has any of them; None where none has.

    Where no name is found as it is, its first parts are left out, as few as possible, unless two names become the same.
    """
    for left_out, shorter in enumerate(_without_first_parts(names)):
        if files := files_below(shorter, folders):
            warning = f"no {quoted(names[0])} here: files are found by the end of their names, as {quoted(files[0])}"
            return LocatedFiles(files, warning if left_out else None)
    return None


def files_below(names: Sequence[str], folders: Sequence[Path]) -> list[Path] | None:
    """The files of these names below the first of these folders that has one of the first; None where none has."""
    tried = [names[index] for index in evenly(len(names), _TRIED)]
    for folder in folders:
        if any(os.path.isfile(path_below(folder, name)) for name in tried):  # long names are not there
            return [path_below(folder, name) for name in names]
    return None


def path_below(folder: Path, name: str) -> Path:
    """As `find_file`, for names of whatever length, and without a look at the disk for names that have one spelling."""
    if name.isascii() and "\\" not in name:
        return folder / name
    try:
        return find_file(folder, name)
    except OSError:
        return folder / name


def quoted(name: str | Path) -> str:
    """In quotation marks, and no longer than a message can be."""
    shortened = Repr()
    shortened.maxstring = 200
    return shortened.repr(str(name))


def _without_first_parts(names: Sequence[str]) -> Iterator[list[str]]:
    """The names, then all without their first part, and so on while they differ."""
    yield list(names)
    parts = [name.replace("\\", "/").strip("/").split("/") for name in names]
    for left_out in range(1, min(_DEEPEST, max(map(len, parts), default=1))):
        shorter = ["/".join(of_name[min(left_out, len(of_name) - 1) :]) for of_name in parts]
        if len(set(shorter)) < len(set(names)):
            return
        yield shorter

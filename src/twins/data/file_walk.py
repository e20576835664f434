"""All files below a folder: which are images, which are nobody's data, and what was left out, in a line for people."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from .image_suffixes import IMAGE_SUFFIXES, REMEDIES, SIDECAR_SUFFIXES

# What systems and programs leave among files, in lower case: copies, thumbnails, bins. Hidden files are left out too.
_CLUTTER = (
    "__macosx", "@eadir", "@__thumb", "@recycle", "#recycle", "$recycle.bin", "system volume information", "lost+found",
    "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r",
)  # fmt: skip
UNREADABLE = "folders that cannot be read"


def is_clutter(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or left there by a system or program, and no data."""
    return name.startswith(".") or name.lower() in _CLUTTER


class FolderState(NamedTuple):
    """By which it is noticed that something was added to a folder, or removed."""

    path: str
    mtime_ns: int
    entries: int  # of all kinds; -1 where it cannot be read


@dataclass
class WalkedFiles:
    """The regular files in a folder and below but for clutter, sorted, and how many others were left out by kind.

    Links are followed, but not to a folder that they are in.
    """

    folder: Path
    paths: list[str] = field(default_factory=list)  # of the files
    others: Counter[str] = field(default_factory=Counter)
    folders: list[FolderState] = field(default_factory=list)  # as they were before they were read

    @property
    def files(self) -> list[Path]:
        return [Path(path) for path in self.paths]

    @property
    def image_paths(self) -> list[str]:
        """Those of the files that are images."""
        return [path for path in self.paths if path.lower().endswith(IMAGE_SUFFIXES)]

    @property
    def images(self) -> list[Path]:
        """Those of the files that are images."""
        return [Path(path) for path in self.image_paths]


def is_image(name: str) -> bool:
    """Whether a file of this name is an image, by its suffix, and no clutter."""
    return name.lower().endswith(IMAGE_SUFFIXES) and not is_clutter(name)


def walk_files(folder: Path) -> WalkedFiles:
    """The files in a folder and below, if it is one; a folder inside that cannot be read counts among the others.

    Within `kept_listings` as it was found before, if nothing was added or removed since.
    """
    return _walker.get()(folder)


def walk_afresh(folder: Path) -> WalkedFiles:
    """As `walk_files`, from the disk."""
    walked = WalkedFiles(folder)
    if folder.is_dir():
        around = [folder.resolve(), *folder.resolve().parents]
        _walk(os.fspath(folder), tuple(_identity(path.stat()) for path in around), folder.stat().st_mtime_ns, walked)
    walked.paths.sort(key=lambda path: path.split(os.sep))  # as paths are compared, by their parts
    return walked


@contextmanager
def walking_by(walker: Callable[[Path], WalkedFiles]) -> Iterator[None]:
    """Within it `walk_files` is this function."""
    token = _walker.set(walker)
    try:
        yield
    finally:
        _walker.reset(token)


_walker: ContextVar[Callable[[Path], WalkedFiles]] = ContextVar("walker", default=walk_afresh)


def left_out_of(folders: Sequence[WalkedFiles], where: Path) -> tuple[str, ...]:
    """What was left out of some folders because it is no image, counted by suffix: a line that names `where`, or none.

    Files that belong beside images, as texts and tables do, are not counted.
    """
    others: Counter[str] = sum((walked.others for walked in folders), Counter())
    for walked in folders:
        for path in walked.paths:
            if not path.lower().endswith(IMAGE_SUFFIXES + SIDECAR_SUFFIXES):
                others[Path(path).suffix.lower() or "without a suffix"] += 1
    if not others:
        return ()
    kinds = [f"{count} {kind}{_remedy(kind)}" for kind, count in sorted(others.items(), key=lambda of: (-of[1], of[0]))]
    return (f"left out of {where}, not read as images: {', '.join(kinds)}",)


def left_out_beside(images: Iterable[Path]) -> tuple[str, ...]:
    """As `left_out_of`, of the folders that these images are in; what is in folders below these does not count."""
    folders = sorted({image.parent for image in images})
    walked = [WalkedFiles(folder) for folder in folders if folder.is_dir()]
    for in_folder in walked:
        for entry in _entries(in_folder.folder, in_folder):
            if not _is_folder(entry):
                _add_file(entry, in_folder)
    return left_out_of(walked, _around([in_folder.folder for in_folder in walked]))


def _around(folders: Sequence[Path]) -> Path:
    """The folder that they are all in, or the first where none is."""
    try:
        return Path(os.path.commonpath(folders))
    except ValueError:  # no folders, or some by relative and some by absolute paths
        return folders[0] if folders else Path()


def _remedy(kind: str) -> str:
    return f" ({REMEDIES[kind]})" if kind in REMEDIES else ""


def _walk(folder: str, around: tuple[tuple[int, int], ...], mtime_ns: int, walked: WalkedFiles) -> None:
    """Add what is in a folder; `around` has the identities of the folder and of those that it is in."""
    unreadable = walked.others[UNREADABLE]
    entries = _entries(folder, walked)
    readable = walked.others[UNREADABLE] == unreadable
    walked.folders.append(FolderState(folder, mtime_ns, len(entries) if readable else -1))
    for entry in entries:
        if not _is_folder(entry):
            _add_file(entry, walked)
        elif not is_clutter(entry.name):
            status = entry.stat()
            inside = _identity(status)
            if inside in around:
                walked.others["links to a folder that they are in"] += 1
            else:
                _walk(entry.path, (*around, inside), status.st_mtime_ns, walked)


def _entries(folder: str | Path, walked: WalkedFiles) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        walked.others[UNREADABLE] += 1
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return not _is_broken_link(entry) and entry.is_dir()


def _is_broken_link(entry: os.DirEntry[str]) -> bool:
    """Also one that leads to itself, on which `is_dir` raises an OSError."""
    return entry.is_symlink() and not os.path.exists(entry.path)


def _add_file(entry: os.DirEntry[str], walked: WalkedFiles) -> None:
    if is_clutter(entry.name):
        if entry.name.lower().endswith(IMAGE_SUFFIXES) and not entry.name.startswith("._"):
            walked.others["hidden images"] += 1
    elif _is_broken_link(entry) or entry.is_file():  # whoever reads a broken link will say so
        walked.paths.append(entry.path)
    else:
        walked.others["neither files nor folders (pipes, devices)"] += 1


def _identity(status: os.stat_result) -> tuple[int, int]:
    """By which a folder is known whatever its path."""
    return status.st_dev, status.st_ino

"""Folders of images: which parts of the data there are, by their names, and which images are below a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ..errors import TwinsError
from .file_walk import is_clutter, walk_files

# What folders, files and keys of each part are called, in any case; of several that are there the first one is taken.
NAMES_OF_PARTS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
PARTS = tuple(NAMES_OF_PARTS)
_IN_WORDS = {"train": "training", "val": "validation", "test": "test"}

PART_OF_WORD = {name: part for part, names in NAMES_OF_PARTS.items() for name in names}
_SAY_NOTHING = {"", "set", "data", "split", "images", "image", "imgs"}  # beside such a name


def part_of(name: str) -> str | None:
    """The part that is plainly called so, "train", "val" or "test", or None: "Validation", "test2017", "train_set"."""
    words = _words(name)
    return _the_one_part(words) if all(w in PART_OF_WORD or w in _SAY_NOTHING for w in words) else None


def part_named_in(name: str) -> str | None:
    """The one part that a name mentions among other words, or None: "instances_val2017", "seg_test"."""
    return _the_one_part(_words(name))


def _the_one_part(words: Iterable[str]) -> str | None:
    named = {PART_OF_WORD[word] for word in words if word in PART_OF_WORD}
    return named.pop() if len(named) == 1 else None


def _words(name: str) -> list[str]:
    """Runs of letters, in lower case and without "set" at their end."""
    return [word.removesuffix("set") for word in re.findall(r"[^\W\d_]+", name.lower())]


class PartFolders(NamedTuple):
    """The folders in a folder."""

    parts: dict[str, Path]  # by the part that they hold
    others: list[Path]  # those that hold none, or one that another folder holds already


def part_folders(folder: Path) -> PartFolders:
    """The folders in this one, if there are any; hidden ones do not count."""
    parts: dict[str, Path] = {}
    others = []
    for child in sorted(folders_in(folder), key=lambda child: usual_names_first(child.name)):
        part = part_of(child.name)
        if part is None or part in parts:
            others.append(child)
        else:
            parts[part] = child
    return PartFolders({part: parts[part] for part in PARTS if part in parts}, others)


def folders_in(folder: Path) -> list[Path]:
    """The folders in this one, sorted, but for those that a system leaves behind; none where it is no folder."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:  # which knows folders without a look at each of a million files
        names = [entry.name for entry in entries if entry.is_dir()]
    return [folder / name for name in sorted(names) if not is_clutter(name)]


def usual_names_first(name: str) -> tuple[int, str]:
    """A key to sort names by: `val` before `valid`, and both before others."""
    usual = list(PART_OF_WORD)
    return usual.index(name.lower()) if name.lower() in usual else len(usual), name


def images_in_words(part: str) -> str:
    """What people call the images of a part; "" stands for all of them."""
    return f"{_IN_WORDS[part]} images" if part else "images"


def missing_part(data: Path | str, part: str, there: Iterable[str]) -> TwinsError:
    """The error of data that has other parts than the one that is to be measured."""
    others = [name for name in PARTS if name in there]
    advice = f"; pass --part {' or '.join(others)} for those that are there" if others else ""
    return TwinsError(f"{data}: no {images_in_words(part)} there{advice}")


def unused_folders(folder: Path, unused: Iterable[Path]) -> tuple[str, ...]:
    """The warning of folders in this one that hold images but are none of a part, if there are any."""
    names = [f"{child.name}/" for child in unused if images_under(child)]
    return (f"{folder}: not read, as none of train/, val/ and test/: {', '.join(names)}",) if names else ()


def unused_test_images(data: Path, part: str, there: Iterable[str]) -> tuple[str, ...]:
    """The warning of test images, which wait until they are asked for."""
    return (f"{data}: test images are left for eval --part test",) if part != "test" and "test" in there else ()


def images_under(folder: Path) -> list[Path]:
    """All image files in a folder and below, by their suffixes, sorted; links are followed, clutter is left out."""
    return walk_files(folder).images

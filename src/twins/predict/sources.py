"""Which pictures are meant, and what each is called in what is written about it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from ..data.classify.folder import pictures_under
from ..data.images import IMAGE_SUFFIXES
from ..errors import TwinsError


class PictureFile(NamedTuple):
    """A picture on disk and its name: its path below the folder that was given, or below all that was."""

    path: Path
    name: Path


def find_pictures(sources: Sequence[str | os.PathLike[str]]) -> list[PictureFile]:
    """Files as they are, and the pictures in folders and below; each once, sorted by names, which all differ.

    Hidden files are left out, of which some systems leave one for each picture. Raises TwinsError for what is not
    there, and for a folder without pictures.
    """
    found: dict[Path, PictureFile] = {}
    for source in map(Path, sources):
        if not source.exists():
            raise TwinsError(f"{source}: no such picture or folder")
        paths = [source]
        if source.is_dir():
            paths = [path for path in pictures_under(source) if not path.name.startswith(".")]
        if not paths:
            raise TwinsError(f"{source}: no pictures in this folder ({', '.join(IMAGE_SUFFIXES)})")
        root = source if source.is_dir() else source.parent
        for path in paths:
            found.setdefault(Path(os.path.abspath(path)), PictureFile(path, path.relative_to(root)))
    if len({picture.name for picture in found.values()}) < len(found):
        root = Path(os.path.commonpath([path.parent for path in found]))
        found = {path: PictureFile(picture.path, path.relative_to(root)) for path, picture in found.items()}
    return sorted(found.values(), key=lambda picture: picture.name)


def output_names(pictures: Sequence[PictureFile], suffix: Callable[[Path], str]) -> list[Path]:
    """A name for what is written of each picture: its own with another suffix; behind its own where two would clash."""
    names = [name.with_suffix(suffix(name)) for _, name in pictures]
    if len(set(names)) == len(names):
        return names
    return [name.with_name(name.name + suffix(name)) for _, name in pictures]


def image_ids(pictures: Sequence[PictureFile]) -> list[int]:
    """COCO's: 139 for 000000000139.jpg, if all files have numbers for names, and different ones; else 1, 2, 3 ..."""
    stems = [name.stem for _, name in pictures]
    numbers = [int(stem) for stem in stems if stem.isascii() and stem.isdigit()]
    return numbers if len(set(numbers)) == len(pictures) else list(range(1, len(pictures) + 1))

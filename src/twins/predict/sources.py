"""Which images are meant, and what each is called in what is written about it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ..data.file_walk import left_out_of, walk_files
from ..data.image_suffixes import USUAL_IMAGES
from ..errors import TwinsError


class ImageFile(NamedTuple):
    """An image on disk and its name: its path below the folder that was given, or below all that was."""

    path: Path
    name: Path


class FoundImages(list[ImageFile]):
    """Images, and what else was in the folders: a line for people each."""

    def __init__(self, images: Iterable[ImageFile], left_out: Sequence[str]) -> None:
        super().__init__(images)
        self.left_out = tuple(left_out)


def find_images(sources: Sequence[str | os.PathLike[str]]) -> FoundImages:
    """Files as they are, and the images in folders and below; each once, sorted by names, which all differ.

    Hidden files are left out, of which some systems leave one for each image. Raises TwinsError for what is not
    there, and for a folder without images.
    """
    found: dict[Path, ImageFile] = {}
    left_out: list[str] = []
    for source in map(Path, sources):
        if not source.exists():
            raise TwinsError(f"{source}: no such image or folder")
        paths = [source]
        if source.is_dir():
            below = walk_files(source)
            paths, not_used = below.images, left_out_of([below], source)
            if not paths:
                why = "".join(f"; {line}" for line in not_used)
                raise TwinsError(f"{source}: no images in this folder ({USUAL_IMAGES}){why}")
            left_out += not_used
        root = source if source.is_dir() else source.parent
        for path in paths:
            found.setdefault(Path(os.path.abspath(path)), ImageFile(path, path.relative_to(root)))
    if len({image.name for image in found.values()}) < len(found):
        root = Path(os.path.commonpath([path.parent for path in found]))
        found = {path: ImageFile(image.path, path.relative_to(root)) for path, image in found.items()}
    return FoundImages(sorted(found.values(), key=lambda image: image.name), left_out)


def output_names(files: Sequence[ImageFile], suffix: Callable[[Path], str]) -> list[Path]:
    """A name for what is written of each image: its own with another suffix; behind its own where two would clash."""
    names = [name.with_suffix(suffix(name)) for _, name in files]
    if len(set(names)) == len(names):
        return names
    return [name.with_name(name.name + suffix(name)) for _, name in files]


def image_ids(files: Sequence[ImageFile]) -> list[int]:
    """COCO's: 139 for 000000000139.jpg, if all files have numbers for names, and different ones; else 1, 2, 3 ..."""
    stems = [name.stem for _, name in files]
    numbers = [int(stem) for stem in stems if stem.isascii() and stem.isdigit()]
    return numbers if len(set(numbers)) == len(files) else list(range(1, len(files) + 1))

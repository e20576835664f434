"""Which images are meant, and what each is called in what is written about it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..data.file_walk import left_out_of, walk_files
from ..data.image_suffixes import USUAL_IMAGES
from ..data.packed import Packed, PackedStrings
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


class PackedImages(Packed[ImageFile]):
    """N images of which only the paths are kept, and where in each its name begins: a million take little memory."""

    def __init__(self, paths: Iterable[str], starts: Iterable[int], left_out: Sequence[str] = ()) -> None:
        self.paths = PackedStrings(paths)
        self.starts = np.fromiter(starts, dtype=np.int32, count=len(self.paths))
        self.left_out = tuple(left_out)

    def __len__(self) -> int:
        return len(self.paths)

    def item(self, index: int) -> ImageFile:
        path = self.paths.item(index)
        return ImageFile(Path(path), Path(path[self.starts[index] :]))

    def take(self, indices: Sequence[int]) -> PackedImages:
        return PackedImages(map(self.paths.item, indices), self.starts[list(indices)], self.left_out)


def find_images(sources: Sequence[str | os.PathLike[str]]) -> FoundImages:
    """Files as they are, and the images in folders and below; each once, sorted by names, which all differ.

    Hidden files are left out, of which some systems leave one for each image. Raises TwinsError for what is not
    there, and for a folder without images.
    """
    found = find_packed_images(sources)
    return FoundImages(found, found.left_out)


def find_packed_images(sources: Sequence[str | os.PathLike[str]]) -> PackedImages:
    """As `find_images`, in little memory."""
    found: list[tuple[str, int]] = []
    left_out: list[str] = []
    for source in map(Path, sources):
        if not source.exists():
            raise TwinsError(f"{source}: no such image or folder")
        if not source.is_dir():
            found.append((str(source), len(str(source)) - len(source.name)))
            continue
        below = walk_files(source)
        not_used = left_out_of([below], source)
        if not below.image_paths:
            why = "".join(f"; {line}" for line in not_used)
            raise TwinsError(f"{source}: no images in this folder ({USUAL_IMAGES}){why}")
        left_out += not_used
        found += _named_below(str(source), below.image_paths)
    if len(sources) > 1:  # else no image is there twice, and they are sorted
        found = _each_once(found)
    return PackedImages((path for path, _ in found), (start for _, start in found), left_out)


def _named_below(folder: str, paths: Iterable[str]) -> Iterator[tuple[str, int]]:
    """The paths and where the part begins that is below the folder."""
    start = len(os.path.join(folder, ""))
    here = os.path.join(os.curdir, "")
    return ((path.removeprefix(here), 0) if folder == os.curdir else (path, start) for path in paths)


def _each_once(found: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    """Sorted by names; where two have one name, all are named by their paths below the folder that all are in."""
    once: dict[str, tuple[str, int]] = {}
    for path, start in found:
        once.setdefault(os.path.abspath(path), (path, start))
    if len({path[start:] for path, start in once.values()}) < len(once):
        root = os.path.commonpath([os.path.dirname(path) for path, _ in once.values()])
        once = {absolute: (path, len(os.path.join(root, ""))) for absolute, (path, _) in once.items()}
    return sorted(once.values(), key=lambda image: image[0][image[1] :].split(os.sep))


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

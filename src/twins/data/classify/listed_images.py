"""Where an image lies that a list or table names, wherever below the data's folder it has been put."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from ...errors import TwinsError
from ..file_names import find_file, same_name
from ..folders import images_under


class ImagesBelow:
    """The images below a folder, found by what others call them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        self._by_stem: dict[str, list[Path]] = defaultdict(list)
        for path in images_under(root):
            self._by_name[_known_as(path.name)].append(path)
            self._by_stem[_known_as(path.stem)].append(path)

    def find(self, name: str, likely: Iterable[str] = ()) -> Path | None:
        """The image of this name, with or without its suffix and folders; None where it is not there.

        A path need only end alike: folders above `root` may be named too, or some below it left out. Of several images
        that in a folder with one of these `likely` words in its name is meant, of which the first is the likeliest.
        Raises TwinsError where several may be meant.
        """
        parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", "..")]
        if not parts:
            return None
        last = _known_as(parts[-1])
        candidates = self._by_name.get(last) or self._by_stem.get(last) or []
        candidates = [path for path in candidates if _end_alike(self._folders(path), parts[:-1])]
        preferences: list[Callable[[Path], bool]] = [
            lambda path: self._folders(path) == parts[:-1],
            lambda path: path.name == parts[-1],
            *(lambda path, word=word: word in self._words(path) for word in likely),
        ]
        for preferred in preferences:
            if len(candidates) > 1:
                candidates = [path for path in candidates if preferred(path)] or candidates
        if len(candidates) > 1:
            raise TwinsError(f"{name} may be {candidates[0]} or {candidates[1]}: write the folder, too")
        return candidates[0] if candidates else self._elsewhere(name)

    def _folders(self, path: Path) -> list[str]:
        return list(path.relative_to(self.root).parent.parts)

    def _words(self, path: Path) -> list[str]:
        """Of the folders that an image is in."""
        return re.findall("[a-z]+", "/".join(self._folders(path)).lower())

    def _elsewhere(self, name: str) -> Path | None:
        """The image as the path says, from root or from anywhere."""
        path = find_file(self.root, name)
        return path if os.path.isfile(path) else None

    def beside(self, images: Iterable[Path]) -> list[Path]:
        """All other images in the folders of these."""
        known = set(images)
        folders = {path.parent for path in known}
        everything = (path for paths in self._by_name.values() for path in paths)
        return sorted(path for path in everything if path.parent in folders and path not in known)


def _known_as(name: str) -> str:
    """However a system composes letters, and whichever of them are capitals."""
    return same_name(name).casefold()


def _end_alike(one: list[str], other: list[str]) -> bool:
    shared = min(len(one), len(other))
    return shared == 0 or list(map(_known_as, one[-shared:])) == list(map(_known_as, other[-shared:]))

"""`dataset.json` beside shards: the names of their classes, and which shards there are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ...class_names import check_classes, read_names
from ...errors import TwinsError
from ...recipes.base import read_json
from ...shown_text import shown

DESCRIPTION = "dataset.json"
CLASSES = "classes.txt"
FORMAT = "webdataset"


class Description(NamedTuple):
    """What a file beside shards says of them."""

    source: Path
    classes: tuple[str, ...]
    shards: tuple[str, ...] = ()  # names of files, of all parts; () where it does not say

    def check_complete(self, there: Iterable[Path]) -> None:
        """Raises TwinsError where a shard of a part that is there is missing."""
        names = {path.name for path in there}
        beginnings = {_beginning(name) for name in names}
        missing = [name for name in self.shards if name not in names and _beginning(name) in beginnings]
        if missing:
            raise TwinsError(
                f"{self.source.parent / missing[0]}: no such shard, one of {len(missing)} missing that "
                f"{self.source.name} lists; fetch it, or name those that you want by a pattern"
            )


def description_text(classes: Sequence[str], parts: Mapping[str, Mapping[str, Any]]) -> str:
    """The file's content; `parts` says of each how many images it has and in which shards."""
    return json.dumps({"format": FORMAT, "task": "classify", "classes": list(classes), "parts": dict(parts)}, indent=1)


def find_description(folders: Iterable[Path]) -> Description | None:
    """What the first of these folders says that has a `dataset.json` or a `classes.txt`; None where none has.

    Raises TwinsError for a file that is no such thing, and for two that name other classes.
    """
    found = [one for folder in dict.fromkeys(folders) if (one := _of_folder(folder))]
    for other in found[1:]:
        check_classes(other.classes, found[0].classes, f"{other.source} (beside {found[0].source})")
    return found[0] if found else None


def _of_folder(folder: Path) -> Description | None:
    if (folder / DESCRIPTION).is_file():
        return _read(folder / DESCRIPTION)
    if (folder / CLASSES).is_file():
        return Description(folder / CLASSES, read_names(folder / CLASSES))
    return None


def _read(file: Path) -> Description | None:
    values = read_json(file)
    classes, parts = values.get("classes"), values.get("parts", {})
    if not _are_texts(classes):
        raise TwinsError(f"{file}: does not list the names of the classes under `classes`")
    names = tuple(map(shown, classes))  # type: ignore[arg-type]  # texts they are
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise TwinsError(f"{file}: class {twice!r} is there twice; each class has its own")
    shards = [name for part in parts.values() for name in part["shards"]] if _are_parts(parts) else []
    return Description(file, names, tuple(shards))


def _are_parts(parts: object) -> bool:
    return isinstance(parts, dict) and all(isinstance(p, dict) and _are_texts(p.get("shards")) for p in parts.values())


def _are_texts(values: object) -> bool:
    return isinstance(values, list) and bool(values) and all(isinstance(value, str) for value in values)


def _beginning(name: str) -> str:
    """What shards of one part have in common: the name without its number."""
    return Path(name).stem.rstrip("0123456789")

"""Lists of images as the original's `--use-mcloader` reads them: `meta/train.txt`, a path and a label a line."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from reprlib import repr as shortened

from ...class_names import numbered, read_names
from ...errors import TwinsError
from ..annotation_errors import FEW, a_few
from ..file_names import find_file
from ..folders import missing_part, part_of, unused_test_images
from .dataset import LabelledImages


def list_files(root: Path) -> dict[str, Path]:
    """The lists in `meta/`, by part."""
    parts: dict[str, Path] = {}
    for path in sorted((root / "meta").glob("*.txt")):
        if part := part_of(path.stem):
            parts.setdefault(part, path)
    return parts


def read_lists(root: Path, part: str = "val") -> tuple[LabelledImages | None, LabelledImages | None]:
    """Images of `meta/train.txt`, and of `meta/val.txt` or, as `part` says, `meta/test.txt`.

    Paths are relative to a folder that is called as the list is, or to the root. Names of classes come from
    `meta/classes.txt`, a name a line, or are the labels' numbers. Raises TwinsError for lists that are missing or
    unreadable, naming file and line.
    """
    lists = list_files(root)
    if not lists:
        missing = root / "meta" / "train.txt"
        raise TwinsError(f"{missing}: no such list; expected a line `path/of/image.jpg LABEL` for each image")
    if part == "test" and part not in lists:
        raise missing_part(root / "meta", part, lists)
    entries = {name: _read_list(path) for name, path in lists.items() if name in ("train", part)}
    count = 1 + max((label for rows in entries.values() for _, label in rows), default=0)
    classes = _class_names(root / "meta" / "classes.txt", count)
    sets = {name: _labelled(root, lists[name].stem, rows, classes) for name, rows in entries.items()}
    train, unused = sets.get("train"), unused_test_images(root / "meta", part, lists)
    return train and train.of_part("train").warned(*unused), sets.get(part)


def _read_list(path: Path) -> list[tuple[str, int]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise TwinsError(f"{path}: not a readable list ({error})") from error
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        match = re.fullmatch(r"(.*\S)\s+([0-9]{1,6})", line.strip())
        if not match:
            raise TwinsError(
                f"{path}:{number}: expected a path and a label, as `n01440764/1.JPEG 0`, not {shortened(line)}"
            )
        rows.append((match[1], int(match[2])))
    if not rows:
        raise TwinsError(f"{path}: an empty list")
    return rows


def _class_names(path: Path, count: int) -> tuple[str, ...]:
    if not path.is_file():
        return numbered(count)
    names = read_names(path)
    if len(names) < count:
        raise TwinsError(f"{path}: {len(names)} names, but the lists use labels up to {count - 1}")
    return names


def _labelled(root: Path, part: str, rows: Sequence[tuple[str, int]], classes: tuple[str, ...]) -> LabelledImages:
    """Those that are there. Raises TwinsError where none is."""
    found = [(_locate(root, part, name), label) for name, label in rows]
    images = [(path, label) for path, label in found if path is not None]
    missing = [name for (name, _), (path, _) in zip(rows, found, strict=True) if path is None]
    warnings: tuple[str, ...] = ()
    if missing:
        what = f"{root / 'meta' / part}.txt: {len(missing)} of {len(rows)} images are not there"
        some = a_few(missing[:FEW], len(missing))
        if not images:
            raise TwinsError(f"{what}, as {missing[0]}; paths are relative to {root / part} or {root}")
        warnings = (f"{what}: {some}",)
    return LabelledImages([path for path, _ in images], [label for _, label in images], classes, warnings)


def _locate(root: Path, part: str, name: str) -> Path | None:
    """The image in the part's folder or in the root."""
    paths = (find_file(folder, name) for folder in (root / part, root))
    return next((path for path in paths if os.path.isfile(path)), None)

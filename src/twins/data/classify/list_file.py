"""Lists of images as the original's `--use-mcloader` reads them: `meta/train.txt`, a path and a label a line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ...class_names import numbered, read_names
from ...errors import TwinsError
from ..annotation_errors import FEW, a_few
from ..file_names import find_file
from .dataset import LabelledImages


def read_lists(root: Path) -> tuple[LabelledImages | None, LabelledImages | None]:
    """(training, validation) from `meta/train.txt` and `meta/val.txt`; paths are relative to `train/`, `val/` or root.

    Names of classes come from `meta/classes.txt`, a name a line, or are the labels' numbers. Raises TwinsError for
    lists that are missing or unreadable, naming file and line.
    """
    parts = {part: root / "meta" / f"{part}.txt" for part in ("train", "val")}
    if not any(path.is_file() for path in parts.values()):
        raise TwinsError(f"{parts['train']}: no such list; expected a line `path/of/image.jpg LABEL` for each image")
    entries = {part: _read_list(path) for part, path in parts.items() if path.is_file()}
    count = 1 + max(label for rows in entries.values() for _, label in rows)
    classes = _class_names(root / "meta" / "classes.txt", count)
    sets = {part: _labelled(root, part, rows, classes) for part, rows in entries.items()}
    return sets.get("train"), sets.get("val")


def _read_list(path: Path) -> list[tuple[str, int]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise TwinsError(f"{path}: not a readable list ({error})") from error
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        match = re.fullmatch(r"(.*\S)\s+([0-9]+)", line.strip())
        if not match:
            raise TwinsError(f"{path}:{number}: expected a path and a label, as `n01440764/1.JPEG 0`, not {line!r}")
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
    return next((path for path in paths if path.is_file()), None)

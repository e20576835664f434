"""Lists of images as the original's `--use-mcloader` reads them: `meta/train.txt`, a path and a label a line."""

from __future__ import annotations

from pathlib import Path

from ...class_names import numbered, read_names
from ...errors import TwinsError
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
    sets = {
        part: LabelledImages([_locate(root, part, name) for name, _ in rows], [label for _, label in rows], classes)
        for part, rows in entries.items()
    }
    return sets.get("train"), sets.get("val")


def _read_list(path: Path) -> list[tuple[str, int]]:
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        name, _, label = line.strip().rpartition(" ")
        if not name or not label.isdigit():
            raise TwinsError(f"{path}:{number}: expected a path and a label, as `n01440764/1.JPEG 0`, not {line!r}")
        rows.append((name.strip(), int(label)))
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


def _locate(root: Path, part: str, name: str) -> Path:
    inside = root / part / name
    return inside if inside.is_file() else root / name

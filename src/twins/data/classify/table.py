"""Labels in a table, as competitions and labelling tools give them: `train.csv`, `labels.csv`, `_classes.csv`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ...class_names import read_names
from ...errors import TwinsError
from ..annotation_errors import FEW, a_few
from ..folders import NAMES_OF_PARTS, PART_OF_WORD, folders_in, part_folders
from .dataset import LabelledImages
from .listed_images import ImagesBelow
from .table_rows import Row, read_rows

SUFFIXES = (".csv", ".tsv")
_PART_OF_WORD = {**PART_OF_WORD, "dev": "val"}  # in tables alone: COCO calls test images "test-dev"
_ANY_PART = ("label", "labels", "annotations", "classes", "metadata", "data", "groundtruth")
_NUMBER = re.compile(r"\d{1,15}(\.0*)?", re.ASCII)
_IMAGE_FOLDERS = ("images", "image", "imgs", "img", "jpg", "photos")


class Listed(NamedTuple):
    """The images of a part, their labels in words, and what was left out."""

    images: list[Path]
    rows: list[Row]
    warnings: tuple[str, ...]


def read_table(root: Path, part: str = "val") -> tuple[LabelledImages | None, LabelledImages | None]:
    """Images for training of the tables in `root`, or of the table that it is, and those of a `part`, "val" or "test".

    Either is None where no table has it. Raises TwinsError, naming file and line, for tables that cannot be used.
    """
    parts = read_parts(root, ("train", part))
    return parts.get("train"), parts.get(part)


def find_tables(root: Path) -> dict[str, list[Path]]:
    """The tables of labels by part, and under "" those that do not say of which; in `root` or its parts' folders."""
    if root.is_file():
        return {"": [root]} if root.suffix.lower() in SUFFIXES else {}
    tables: dict[str, list[Path]] = {}
    for part_of_folder, folder in {"": root, **part_folders(root).parts}.items():
        for path in sorted(folder.glob("*")):
            part = _part_of_table(path)
            if part is not None:
                tables.setdefault(part or part_of_folder, []).append(path)
    return tables


def holds_class_folders(root: Path) -> bool:
    """Whether images lie in folders that are called neither as parts nor as images are, as those of classes are not."""
    folders = folders_in(root)
    if train := part_folders(root).parts.get("train"):
        folders += folders_in(train)
    words = [set(re.findall(r"[a-z]+", path.name.lower())) for path in folders if not path.name.startswith("_")]
    return sum(not w & {*_PART_OF_WORD, *_IMAGE_FOLDERS, "annotations", "labels"} for w in words) > 1


def read_parts(root: Path, wanted: Sequence[str]) -> dict[str, LabelledImages]:
    """The parts of these names, of "train", "val" and "test", that the tables in `root` have.

    Raises TwinsError, naming file and line, for tables that cannot be used.
    """
    tables = find_tables(root)
    chosen = {part: tables[part] for part in wanted if part in tables} or {"train": tables.get("", [])}
    if not any(chosen.values()):
        raise TwinsError(
            f"{root}: no table of labels; expected train.csv or labels.csv with columns `file` and `label`"
        )
    below = ImagesBelow(root if root.is_dir() else root.parent)
    rows: dict[str, list[Row]] = {part: [] for part in NAMES_OF_PARTS}
    warnings: list[str] = [f"{path}: not read, beside other tables" for path in _unused(tables, chosen)]
    for part, paths in chosen.items():
        for path in paths:
            table = read_rows(path)
            warnings += table.warnings
            for row in table.rows:
                rows[_part_of_row(row, part)].append(row)
    listed = {part: _locate(below, rows[part], part) for part in NAMES_OF_PARTS if rows[part]}
    unlisted = below.beside(path for part in listed.values() for path in part.images)
    if unlisted:
        names = a_few([path.name for path in unlisted[:FEW]], len(unlisted))
        warnings.append(f"{root}: {len(unlisted)} images are in no table: {names}")
    return _labelled(root, {part: listed[part] for part in wanted if part in listed}, warnings)


def _part_of_table(path: Path) -> str | None:
    """The part that a table's name says, "" where it is of any, None for what is no table of labels by its name."""
    if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
        return None
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", path.stem).lower())
    parts = {_PART_OF_WORD[word] for word in words if word in _PART_OF_WORD}
    if len(parts) > 1 or not words or not all(word in (*_PART_OF_WORD, *_ANY_PART, "set") for word in words):
        return None
    return parts.pop() if parts else ""


def _unused(tables: dict[str, list[Path]], chosen: dict[str, list[Path]]) -> list[Path]:
    used = {path for paths in chosen.values() for path in paths}
    return [path for part, paths in tables.items() for path in paths if part == "" and path not in used]


def _part_of_row(row: Row, part_of_table: str) -> str:
    if not row.part:
        return part_of_table
    part = _PART_OF_WORD.get(row.part.lower())
    if part is None:
        raise TwinsError(f"{row.line}: no such part as {row.part!r}; parts are train, val and test")
    return part


def _locate(below: ImagesBelow, rows: Sequence[Row], part: str) -> Listed:
    """Each image once. Raises TwinsError for one with two labels, and where none is there."""
    likely = (*NAMES_OF_PARTS[part], *_IMAGE_FOLDERS)
    first: dict[Path, Row] = {}
    missing, unlabelled, again = [], [], []
    for row in rows:
        try:
            path = below.find(row.file, likely)
        except TwinsError as error:
            raise TwinsError(f"{row.line}: {error}") from error
        if not row.label:
            unlabelled.append(row)
        elif path is None:
            missing.append(row)
        elif path not in first:
            first[path] = row
        elif first[path].label != row.label:
            raise TwinsError(
                f"{row.line}: {row.file} is {row.label!r} here and {first[path].label!r} in {first[path].line}"
            )
        else:
            again.append(row)
    if not first:
        what = "has a label" if unlabelled and not missing else "is there"
        raise TwinsError(
            f"{rows[0].line.rpartition(':')[0]}: none of its {len(rows)} images {what}, as {rows[0].file!r} below "
            f"{below.root}"
        )
    kinds = (
        ("images are not there", missing),
        ("images have no label", unlabelled),
        ("images are listed twice", again),
    )
    return Listed(list(first), list(first.values()), tuple(_left_out(what, of) for what, of in kinds if of))


def _left_out(what: str, rows: Sequence[Row]) -> str:
    return f"{len(rows)} {what}: {a_few([f'{row.line} {row.file}' for row in rows[:FEW]], len(rows))}"


def _labelled(root: Path, parts: dict[str, Listed], warnings: Sequence[str]) -> dict[str, LabelledImages]:
    """With the classes of the first part. Raises TwinsError for a class that only another has."""
    in_numbers = all(_NUMBER.fullmatch(row.label) for part in parts.values() for row in part.rows)
    result: dict[str, LabelledImages] = {}
    known: dict[str, int] = {}  # a class as labels call it, and its index
    names: tuple[str, ...] = ()
    for name, part in parts.items():
        labels = [str(int(float(row.label))) if in_numbers else row.label for row in part.rows]
        if not known:
            known, names = _classes(root, labels, in_numbers)
        for row, label in zip(part.rows, labels, strict=True):
            if label not in known:
                some = a_few(names[:8], len(names))
                raise TwinsError(f"{row.line}: class {label!r} is not among the classes trained on ({some})")
        labelled = [known[label] for label in labels]
        result[name] = LabelledImages(part.images, labelled, names, (*warnings, *part.warnings))
    return result


def _classes(root: Path, labels: Sequence[str], in_numbers: bool) -> tuple[dict[str, int], tuple[str, ...]]:
    """The index of each label, in the order of numbers or names, and their names: a file may have those of numbers."""
    file = root / "classes.txt"
    if in_numbers and file.is_file():
        names = read_names(file)
        return {str(index): index for index in range(len(names))}, names
    classes = sorted(set(labels), key=int if in_numbers else None)
    return {label: index for index, label in enumerate(classes)}, tuple(classes)

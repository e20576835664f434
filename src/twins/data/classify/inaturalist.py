"""iNaturalist 2018 and 2019: images listed in JSON, classes at any rank of the tree of life."""

from __future__ import annotations

import json
import os
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

from ...errors import TwinsError
from .dataset import LabelledImages


def read_inaturalist(root: Path, year: int, category: str) -> tuple[LabelledImages, LabelledImages]:
    """(training, validation) from `train{year}.json`, `val{year}.json` and `categories.json` under `root`.

    Classes are numbered in the order in which the training annotations first name them, as the original does.
    Raises TwinsError for files that are missing or lack what is needed.
    """
    file = root / "categories.json"
    categories = _read_json(file)
    if not isinstance(categories, list) or not all(isinstance(row, dict) for row in categories):
        raise TwinsError(f"{file}: not a list of iNaturalist's categories, each with its ranks by name")
    rank_of = {_id(row.get("id", index), file): _rank(row, category, file) for index, row in enumerate(categories)}
    train = _labelled_files(root / f"train{year}.json", rank_of)
    val = _labelled_files(root / f"val{year}.json", rank_of)
    label_of = {name: label for label, name in enumerate(dict.fromkeys(name for _, name in train))}
    for _, name in val:
        if name not in label_of:
            raise TwinsError(f"{root / f'val{year}.json'}: class {name!r} does not occur in the training annotations")
    classes = tuple(label_of)
    train_set, val_set = (
        LabelledImages([_locate(root, file) for file, _ in rows], [label_of[name] for _, name in rows], classes)
        for rows in (train, val)
    )
    return train_set, val_set


def _labelled_files(path: Path, rank_of: dict[int | str, str]) -> list[tuple[str, str]]:
    listing = _read_json(path)
    try:
        file_of = {image["id"]: image["file_name"] for image in listing["images"]}
        rows = [(file_of[a["image_id"]], rank_of[a["category_id"]]) for a in listing["annotations"]]
    except (KeyError, TypeError) as error:
        raise TwinsError(f"{path}: not an iNaturalist listing (no {error})") from error
    for name, _ in rows:
        if not isinstance(name, str):
            raise TwinsError(f"{path}: file_name is {shortened(name)}; expected text")
    return rows


def _id(value: Any, file: Path) -> int | str:
    if not isinstance(value, int | str):
        raise TwinsError(f"{file}: id is {shortened(value)}; expected a whole number")
    return value


def _rank(row: dict[str, Any], category: str, file: Path) -> str:
    if not isinstance(row.get(category), int | str):
        raise TwinsError(f"{file}: no {category!r} there; --inat-category takes {shortened(', '.join(row))}")
    return str(row[category])


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TwinsError(f"{path}: no such file; unpack the iNaturalist JSON files into {path.parent}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise TwinsError(f"{path}: not readable as JSON ({error})") from error


def _locate(root: Path, file: str) -> Path:
    """Where an image lies: as listed, or without the super-category's folder, as the original expects it."""
    listed = root / file
    parts = Path(file).parts
    if not os.path.exists(listed) and len(parts) == 4:
        return root / parts[0] / parts[2] / parts[3]
    return listed

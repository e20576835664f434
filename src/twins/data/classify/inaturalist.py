"""iNaturalist 2018 and 2019: images listed in JSON, classes at any rank of the tree of life."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...errors import TwinsError
from .dataset import LabelledImages


def read_inaturalist(root: Path, year: int, category: str) -> tuple[LabelledImages, LabelledImages]:
    """(training, validation) from `train{year}.json`, `val{year}.json` and `categories.json` under `root`.

    Classes are numbered in the order in which the training annotations first name them, as the original does.
    Raises TwinsError for files that are missing or lack what is needed.
    """
    categories = _read_json(root / "categories.json")
    rank_of = {row.get("id", index): _rank(row, category, root) for index, row in enumerate(categories)}
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


def _labelled_files(path: Path, rank_of: dict[int, str]) -> list[tuple[str, str]]:
    listing = _read_json(path)
    try:
        file_of = {image["id"]: image["file_name"] for image in listing["images"]}
        return [(file_of[a["image_id"]], rank_of[a["category_id"]]) for a in listing["annotations"]]
    except (KeyError, TypeError) as error:
        raise TwinsError(f"{path}: not an iNaturalist listing (no {error})") from error


def _rank(row: dict[str, Any], category: str, root: Path) -> str:
    if category not in row:
        raise TwinsError(f"{root / 'categories.json'}: no {category!r} there; --inat-category takes {', '.join(row)}")
    return str(row[category])


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TwinsError(f"{path}: no such file; unpack the iNaturalist JSON files into {path.parent}") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise TwinsError(f"{path}: not readable as JSON ({error})") from error


def _locate(root: Path, file: str) -> Path:
    """Where an image lies: as listed, or without the super-category's folder, as the original expects it."""
    listed = root / file
    parts = Path(file).parts
    if not listed.exists() and len(parts) == 4:
        return root / parts[0] / parts[2] / parts[3]
    return listed

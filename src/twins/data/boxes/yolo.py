"""The layout of YOLO's trainers: a text file of boxes or polygons for each image, and a YAML file that names all."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

from ...class_names import read_names
from ...errors import TwinsError
from ..folders import (
    images_under,
    missing_part,
    part_folders,
    part_of,
    unused_folders,
    unused_test_images,
    usual_names_first,
)
from ..listed_files import files_below, path_below, quoted
from .dataset import BoxedImages
from .written_numbers import whole_number
from .yolo_objects import labelled_images
from .yolo_yaml import read_text, top_fields, yaml_fields

YOLO_LAYOUT = "data.yaml, images/train/ and labels/train/ (YOLO)"

Parts = dict[str, Callable[[], list[Path]]]  # what finds the images of each part


def read_yolo(root: Path, part: str = "val") -> tuple[BoxedImages | None, BoxedImages | None]:
    """Images for training of a YAML file, or of the one under `root`, and those of a `part`, "val" or "test".

    Either is None where it is not named. The file has the `names` of the classes, and where the images of `train`,
    `val` (or `valid`, `validation`) and `test` are: folders, or lists of files. Without it `classes.txt` has the names,
    and images are in `images/train`, `images/val` and `images/test`. Labels are in `labels/` where images are in
    `images/`, in a text file of the same name; an image without one has no objects.
    Raises TwinsError, naming file and line, for what cannot be read; what can be read but not used stands in `errors`.
    """
    file = yolo_file(root)
    if file is None:
        raise TwinsError(
            f"{root}: no data.yaml or classes.txt of YOLO's layout; --data takes a folder with {YOLO_LAYOUT}"
        )
    classes, parts = _from_names(file) if file.suffix == ".txt" else _from_yaml(file)
    if part == "test" and part not in parts:
        raise missing_part(file, part, parts)
    found = [parts[name]() if name in parts else [] for name in ("train", part)]
    if not any(found):
        raise TwinsError(f"{file}: no images for training or validation; expected {YOLO_LAYOUT}")
    train, measured = (labelled_images(images, classes) if images else None for images in found)
    if train:
        images = part_folders(file.parent / "images")
        others = images.others if file.suffix == ".txt" and images.parts else ()
        unused = (*unused_folders(file.parent / "images", others), *unused_test_images(file, part, parts))
        train = train.of_part("train" if file.suffix != ".txt" or "train" in images.parts else "").warned(*unused)
    return train, measured


def yolo_file(root: Path) -> Path | None:
    """The file that names the classes: `root` itself, or one in it. Raises TwinsError where several could be it."""
    if root.is_file():
        return root
    if (root / "data.yaml").is_file():
        return root / "data.yaml"
    described = [file for file in sorted(root.glob("*.y*ml")) if _names_a_part(top_fields(file))]
    if len(described) > 1:
        names = ", ".join(file.name for file in described)
        raise TwinsError(f"{root}: which of {names} to take is unclear; keep one, or pass it as --data")
    if described:
        return described[0]
    names_alone = root / "classes.txt"
    return names_alone if names_alone.is_file() and (root / "labels").is_dir() else None


def _names_a_part(fields: set[str]) -> bool:
    return "names" in fields and not {"train", "val"}.isdisjoint(map(part_of, fields))


def _from_yaml(file: Path) -> tuple[tuple[str, ...], Parts]:
    content = yaml_fields(file)
    if "names" not in content:
        raise TwinsError(f"{file}: no `names` there; list those of the classes, in the order of their numbers")
    if "kpt_shape" in content:
        raise TwinsError(f"{file}: labels of key points (kpt_shape), which are no polygons; export boxes or polygons")
    base = path_below(file.parent, os.path.expanduser(str(content.get("path") or "")))  # no folder yet
    base = base if os.path.isdir(base) else file.parent  # the folder has been moved
    parts: Parts = {}
    for key in sorted((key for key, value in content.items() if key and value), key=usual_names_first):
        if part := part_of(key):
            parts.setdefault(part, partial(_images, file, key, content[key], base))
    return _names(file, content["names"], content.get("nc")), parts


def _from_names(file: Path) -> tuple[tuple[str, ...], Parts]:
    images = file.parent / "images"
    folders = part_folders(images).parts
    parts: Parts = {part: partial(images_under, folder) for part, folder in folders.items()}
    if folders.keys() <= {"test"}:
        parts["train"] = lambda: [image for image in images_under(images) if folders.get("test") not in image.parents]
    return _names(file, list(read_names(file)), None), parts


def _names(file: Path, names: Any, count: Any) -> tuple[str, ...]:
    if isinstance(names, dict) and {whole_number(label) for label in names} == set(range(len(names))):
        names = [name for _, name in sorted(names.items(), key=lambda pair: whole_number(pair[0]) or 0)]
    if not isinstance(names, list) or not names:
        raise TwinsError(
            f"{file}: names are {shortened(names)}; expected a list, or numbers from 0 on with a name each"
        )
    for label, name in enumerate(names):
        if not isinstance(name, str) or not name:
            raise TwinsError(f"{file}: the name of class {label} is {shortened(name)}; expected text")
    if len(set(names)) < len(names):
        raise TwinsError(f"{file}: names are {shortened(names)}; each class has its own")
    if count is not None and whole_number(count) != len(names):
        raise TwinsError(
            f"{file}: nc is {shortened(count)}, but there are {len(names)} names; leave nc away, or fix one of them"
        )
    return tuple(names)


def _images(file: Path, key: str, entries: Any, base: Path) -> list[Path]:
    """All images of a part: in folders, or in lists of files. Raises TwinsError where there are none."""
    found: list[Path] = []
    for entry in entries if isinstance(entries, list) else [entries]:
        if not isinstance(entry, str):
            raise TwinsError(f"{file}: {key} names {shortened(entry)}; expected a folder, a list of files, or several")
        # Roboflow writes ../train/images for what lies below the file.
        candidates = [path_below(base, name) for name in (entry, entry.replace("\\", "/").removeprefix("../"))]
        path = next((path for path in candidates if os.path.exists(path)), None)  # it may be too long
        if path is None:
            where = f"there is no {quoted(candidates[0])}; paths count from {base}"
            raise TwinsError(f"{file}: {key} names {quoted(entry)}, but {where}")
        found += images_under(path) if path.is_dir() else _listed(path, base)
    if not found:
        raise TwinsError(f"{file}: no images in {key}, {shortened(entries)}")
    return found


def _listed(file: Path, base: Path) -> list[Path]:
    """The images that a text file names, a path a line. Raises TwinsError where none of the first is there."""
    names = [line.strip() for line in read_text(file).splitlines() if line.strip()]
    images = files_below(names, (file.parent, base))
    if names and images is None:
        raise TwinsError(
            f"{file}: none of the {len(names)} images that it names is there, as {quoted(names[0])}; paths count from "
            f"{file.parent}"
        )
    return images or []

"""The layout of YOLO's trainers: a text file of boxes or polygons for each image, and a YAML file that names all."""

from __future__ import annotations

import os
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

from ...class_names import read_names
from ...errors import TwinsError
from ..folders import VAL_FOLDERS, images_under
from ..listed_files import files_below, path_below, quoted
from .dataset import BoxedImages
from .written_numbers import whole_number
from .yolo_objects import labelled_images
from .yolo_yaml import read_text, top_fields, yaml_fields

YOLO_LAYOUT = "data.yaml, images/train/ and labels/train/ (YOLO)"

Parts = tuple[list[Path] | None, list[Path] | None]  # images, for training and for validation


def read_yolo(root: Path) -> tuple[BoxedImages | None, BoxedImages | None]:
    """(training, validation) images of a YAML file, or of the one under `root`; either is None where it is not named.

    The file has the `names` of the classes, and where the images of `train` and `val` are: folders, or lists of
    files. Without it `classes.txt` has the names, and images are in `images/train` and `images/val`. Labels are in
    `labels/` where images are in `images/`, in a text file of the same name; an image without one has no objects.
    Raises TwinsError, naming file and line, for what cannot be read; what can be read but not used stands in `errors`.
    """
    file = yolo_file(root)
    if file is None:
        raise TwinsError(
            f"{root}: no data.yaml or classes.txt of YOLO's layout; --data takes a folder with {YOLO_LAYOUT}"
        )
    classes, parts = _from_names(file) if file.suffix == ".txt" else _from_yaml(file)
    if not any(parts):
        raise TwinsError(f"{file}: no images for training or validation; expected {YOLO_LAYOUT}")
    train, val = (labelled_images(images, classes) if images else None for images in parts)
    return train, val


def yolo_file(root: Path) -> Path | None:
    """The file that names the classes: `root` itself, or one in it. Raises TwinsError where several could be it."""
    if root.is_file():
        return root
    if (root / "data.yaml").is_file():
        return root / "data.yaml"
    described = [file for file in sorted(root.glob("*.y*ml")) if {"names", "train"} <= top_fields(file)]
    if len(described) > 1:
        names = ", ".join(file.name for file in described)
        raise TwinsError(f"{root}: which of {names} to take is unclear; keep one, or pass it as --data")
    if described:
        return described[0]
    names_alone = root / "classes.txt"
    return names_alone if names_alone.is_file() and (root / "labels").is_dir() else None


def _from_yaml(file: Path) -> tuple[tuple[str, ...], Parts]:
    content = yaml_fields(file)
    if "names" not in content:
        raise TwinsError(f"{file}: no `names` there; list those of the classes, in the order of their numbers")
    if "kpt_shape" in content:
        raise TwinsError(f"{file}: labels of key points (kpt_shape), which are no polygons; export boxes or polygons")
    base = path_below(file.parent, os.path.expanduser(str(content.get("path") or "")))  # no folder yet
    base = base if os.path.isdir(base) else file.parent  # the folder has been moved
    train, val = (_images(file, key, content[key], base) if content.get(key) else None for key in ("train", "val"))
    return _names(file, content["names"], content.get("nc")), (train, val)


def _from_names(file: Path) -> tuple[tuple[str, ...], Parts]:
    images = file.parent / "images"
    val = next((images / name for name in VAL_FOLDERS if (images / name).is_dir()), None)
    train = images / "train" if (images / "train").is_dir() else None if val else images
    parts = (images_under(folder) if folder else None for folder in (train, val))
    return _names(file, list(read_names(file)), None), (next(parts), next(parts))


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

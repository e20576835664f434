"""The layout of YOLO's trainers: a text file of boxes or polygons for each image, and a YAML file that names all."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from reprlib import repr as shortened
from typing import Any, NamedTuple

import numpy as np

from ...class_names import read_names
from ...errors import TwinsError
from ...optional_dependencies import need
from ..annotation_errors import FEW, Examples
from ..folders import VAL_FOLDERS, images_under
from ..images import readable_size
from .box_formats import YOLO_BOX
from .dataset import BoxedImages, ObjectTable
from .segmentations import SHORTEST_POLYGON, Segmentations, area_of

YOLO_LAYOUT = "data.yaml, images/train/ and labels/train/ (YOLO)"

_MOST = 2.0  # coordinates are shares of the image's sides, perhaps a little beyond: larger ones are pixels
_LINE = "`class x y width height`, or `class x y x y x y ...` for a polygon, in shares of the image's sides"


Parts = tuple[list[Path] | None, list[Path] | None]  # images, for training and for validation


class _Line(NamedTuple):
    """An object, in shares of the image's sides."""

    number: int  # of the line
    label: int
    box: np.ndarray  # (4,): x and y of the corner at the top left, width, height
    polygon: np.ndarray | None  # (points, 2) of x and y


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
    train, val = (_boxed_images(images, classes) if images else None for images in parts)
    return train, val


def yolo_file(root: Path) -> Path | None:
    """The file that names the classes: `root` itself, or one in it. Raises TwinsError where several could be it."""
    if root.is_file():
        return root
    if (root / "data.yaml").is_file():
        return root / "data.yaml"
    described = [file for file in sorted(root.glob("*.y*ml")) if {"names", "train"} <= _top_keys(file)]
    if len(described) > 1:
        names = ", ".join(file.name for file in described)
        raise TwinsError(f"{root}: which of {names} to take is unclear; keep one, or pass it as --data")
    if described:
        return described[0]
    names_alone = root / "classes.txt"
    return names_alone if names_alone.is_file() and (root / "labels").is_dir() else None


def _from_yaml(file: Path) -> tuple[tuple[str, ...], Parts]:
    content = _yaml(file)
    if "names" not in content:
        raise TwinsError(f"{file}: no `names` there; list those of the classes, in the order of their numbers")
    if "kpt_shape" in content:
        raise TwinsError(f"{file}: labels of key points (kpt_shape), which are no polygons; export boxes or polygons")
    base = file.parent / str(content.get("path") or "")
    base = base if base.is_dir() else file.parent  # the folder has been moved
    train, val = (_images(file, key, content[key], base) if content.get(key) else None for key in ("train", "val"))
    return _names(file, content["names"], content.get("nc")), (train, val)


def _from_names(file: Path) -> tuple[tuple[str, ...], Parts]:
    images = file.parent / "images"
    val = next((images / name for name in VAL_FOLDERS if (images / name).is_dir()), None)
    train = images / "train" if (images / "train").is_dir() else None if val else images
    parts = (images_under(folder) if folder else None for folder in (train, val))
    return _names(file, list(read_names(file)), None), (next(parts), next(parts))


def _top_keys(file: Path) -> set[str]:
    """The fields of a YAML file, without need of the library: a folder may hold YAML files of all kinds."""
    return set(re.findall(r"^(\w+)\s*:", _text(file), re.MULTILINE))


def _yaml(file: Path) -> dict[str, Any]:
    yaml = need("yaml", extra="detect")
    try:
        content = yaml.safe_load(_text(file))
    except yaml.YAMLError as error:
        raise TwinsError(f"{file}: not readable as YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise TwinsError(f"{file}: holds no fields; expected `names`, `train` and `val`")
    return content


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise TwinsError(f"{file}: cannot be read ({error})") from error


def _names(file: Path, names: Any, count: Any) -> tuple[str, ...]:
    if isinstance(names, dict) and names.keys() == set(range(len(names))):
        names = [names[label] for label in range(len(names))]
    if not isinstance(names, list) or not names:
        raise TwinsError(
            f"{file}: names are {shortened(names)}; expected a list, or numbers from 0 on with a name each"
        )
    names = [str(name) for name in names]
    if len(set(names)) < len(names):
        raise TwinsError(f"{file}: names are {shortened(names)}; each class has its own")
    if str(count) not in ("None", str(len(names))):
        raise TwinsError(f"{file}: nc is {count}, but there are {len(names)} names; leave nc away, or fix one of them")
    return tuple(names)


def _images(file: Path, key: str, entries: Any, base: Path) -> list[Path]:
    """All images of a part: in folders, or in lists of files. Raises TwinsError where there are none."""
    found: list[Path] = []
    for entry in entries if isinstance(entries, list) else [entries]:
        # Roboflow writes ../train/images for what lies below the file.
        candidates = (base / str(entry), base / str(entry).removeprefix("../"))
        path = next((path for path in candidates if path.exists()), None)
        if path is None:
            raise TwinsError(f"{file}: {key} names {entry}, but there is no {candidates[0]}; paths count from {base}")
        found += images_under(path) if path.is_dir() else _listed(path)
    if not found:
        raise TwinsError(f"{file}: no images in {key}, {shortened(entries)}")
    return found


def _listed(file: Path) -> list[Path]:
    return [file.parent / line.strip() for line in _text(file).splitlines() if line.strip()]


# Labels


def _boxed_images(images: Sequence[Path], classes: tuple[str, ...]) -> BoxedImages:
    files = [_label_file(image) for image in images]
    if not any(file.is_file() for file in files):
        raise TwinsError(f"{files[0]}: no such file, nor one for any other of {len(files)} images; labels go there")
    sizes = [readable_size(image) for image in images]
    used: list[_Line] = []
    boxes, areas, segmentations, ends, unknown = [], [], Segmentations(), [], []
    for file, size in zip(files, sizes, strict=True):
        for line in _lines(file):
            if not 0 <= line.label < len(classes):
                unknown.append(f"{file}:{line.number} (class {line.label})")
            elif size:
                height, width = size
                box = line.box * (width, height, width, height)
                polygons = None if line.polygon is None else [(line.polygon * (width, height)).ravel().tolist()]
                used.append(line)
                boxes.append(box)
                areas.append(area_of(polygons, size) if polygons else box[2] * box[3])
                segmentations.append(polygons)
        ends.append(len(used))
    table = ObjectTable(
        boxes=np.array(boxes, dtype=np.float64).reshape(-1, 4),
        labels=np.array([line.label for line in used], dtype=np.int64),
        crowd=np.zeros(len(used), dtype=bool),
        areas=np.array(areas, dtype=np.float64),
        segmentations=segmentations,
        ends=np.array(ends),
    )
    return BoxedImages(
        images,
        table,
        sizes,
        range(1, len(images) + 1),
        classes,
        tuple(range(len(classes))),
        has_masks=table.have_masks,
        object_ids=np.split(np.array([line.number for line in used], dtype=np.int64), ends[:-1]),
        id_kind="line",
        box_format=YOLO_BOX,
        errors=(f"classes beyond the {len(classes)} names: {Examples(len(unknown), tuple(unknown[:FEW]))}",)
        if unknown
        else (),
    )


def _label_file(image: Path) -> Path:
    """In `labels/` for the last `images/` of the path; beside the image where there is none."""
    folders = list(image.parent.parts)
    for depth in reversed(range(len(folders))):
        if folders[depth] == "images":
            folders[depth] = "labels"
            break
    return Path(*folders, f"{image.stem}.txt")


def _lines(file: Path) -> list[_Line]:
    """The objects of an image; none where there is no file. Raises TwinsError with file and line."""
    if not file.is_file():
        return []
    found = []
    for number, text in enumerate(_text(file).splitlines(), start=1):
        if not text.strip():
            continue
        try:
            found.append(_line(number, text))
        except ValueError as error:
            raise TwinsError(f"{file}:{number}: expected {_LINE}, not {shortened(text)}") from error
    return found


def _line(number: int, text: str) -> _Line:
    """Raises ValueError for anything else than an object."""
    label, *words = text.split()
    values = np.array(words, dtype=np.float64)
    if not (np.abs(values) <= _MOST).all():
        raise ValueError
    if len(values) == 4:
        size = values[2:]
        return _Line(number, int(label), np.concatenate([values[:2] - size / 2, size]), None)
    if len(values) < SHORTEST_POLYGON or len(values) % 2:
        raise ValueError
    points = values.reshape(-1, 2)
    corner = points.min(axis=0)
    return _Line(number, int(label), np.concatenate([corner, points.max(axis=0) - corner]), points)

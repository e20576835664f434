"""COCO's layout: a JSON file for each part, with all its images, objects and classes.

COCO keeps `annotations/instances_train2017.json` beside `train2017/`, Roboflow `train/_annotations.coco.json` among the
images, CVAT `annotations/instances_default.json` beside `images/default/`.
"""

from __future__ import annotations

import gc
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from reprlib import repr as shortened
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ...errors import TwinsError
from ...preprocessing import Size
from ..annotation_errors import FEW, Examples, a_few
from ..folders import TRAIN_FOLDERS, VAL_FOLDERS
from ..images import readable_size, width_x_height
from ..sampling import evenly
from .dataset import BoxedImages, ObjectTable
from .segmentations import SHORTEST_POLYGON, Segmentations, WrittenSegmentation, area_of, box_of, compressed_rle

COCO_LAYOUT = "annotations/instances_train.json beside train/, or train/_annotations.coco.json (COCO)"

_ROBOFLOW_NAME = "_annotations.coco.json"  # among the images
_FOLDERS = {"train": TRAIN_FOLDERS, "val": VAL_FOLDERS, "test": ("test",)}
_TRIED = 100  # images that are looked for to find their folder

Row = dict[str, Any]
T = TypeVar("T")


class _Image(NamedTuple):
    id: int
    file: str
    size: Size | None


class _Category(NamedTuple):
    id: int
    name: str
    parent: str


class _Annotation(NamedTuple):
    id: int
    image: int  # its id
    category: int  # its id
    box: list[float] | None  # x, y, width, height
    area: float | None
    crowd: bool
    segmentation: WrittenSegmentation | None


class _Listing(NamedTuple):
    """What a file holds; categories in the order of their ids."""

    file: Path
    images: list[_Image]
    categories: list[_Category]
    annotations: list[_Annotation]


@contextmanager
def _without_collector() -> Iterator[None]:
    """Without Python's search for cycles: in millions of lists without one that takes as long as to read them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_without_collector()
def read_coco(root: Path) -> tuple[BoxedImages | None, BoxedImages | None]:
    """(training, validation) images under `root`, or of one JSON file; either is None where its file is not there.

    A file that is named neither train nor val holds training images; test files are left alone. Classes come in the
    order of the category ids, and are the same in both parts. Raises TwinsError, naming file and entry, for what cannot
    be read; what can be read but not used stands in `errors` and `warnings`.
    """
    files = annotation_files(root)
    listings = [_read_listing(file) for file in files if file]
    if not listings:
        raise TwinsError(f"{root}: no annotations in COCO's layout; --data takes a folder with {COCO_LAYOUT}")
    classes = _classes(listings)
    parts = iter([_boxed_images(listing, classes) for listing in listings])
    train, val = (next(parts) if file else None for file in files)
    return train, val


def annotation_files(root: Path) -> tuple[Path | None, Path | None]:
    """The files of the training and of the validation part. Raises TwinsError where several could be either."""
    if root.is_file():  # all the data there is
        return (None, root) if _part_of(root) in ("val", "test") else (root, None)
    by_part: dict[str, list[Path]] = defaultdict(list)
    for file in _candidates(root):
        by_part[_part_of(file)].append(file)
    train, val = sorted(by_part["train"] + by_part["whole"]), sorted(by_part["val"])
    for several in (train, val):
        if len(several) > 1:
            names = a_few([file.relative_to(root).as_posix() for file in several[:FEW]], len(several))
            raise TwinsError(f"{root}: which annotations to take is unclear: {names}; keep one, or pass it as --data")
    return (train[0] if train else None), (val[0] if val else None)


def _candidates(root: Path) -> Iterator[Path]:
    yield from [*root.glob("annotations/instances_*.json")] or root.glob("annotations/*.json")
    beside = [f"{folder}/{_ROBOFLOW_NAME}" for folders in _FOLDERS.values() for folder in folders]
    for pattern in ("instances_*.json", "annotations.json", _ROBOFLOW_NAME, *beside):
        yield from root.glob(pattern)


def _part_of(file: Path) -> str:
    """train, val or test; whole where the name says none of these, or several."""
    if file.name == _ROBOFLOW_NAME:
        return next((part for part, folders in _FOLDERS.items() if file.parent.name in folders), "whole")
    named = set(re.findall(r"(?<![a-z])(train|val|test)(?:ing|id|idation)?(?![a-z])", file.stem.lower()))
    return named.pop() if len(named) == 1 else "whole"


# From JSON


def _read_listing(file: Path) -> _Listing:
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise TwinsError(f"{file}: not readable as JSON ({error})") from error
    images = _each(file, content, "images", _image)
    categories = sorted(_each(file, content, "categories", _category), key=lambda category: category.id)
    for kind, entries in (("images", images), ("categories", categories)):
        if not entries:
            raise TwinsError(f"{file}: the list {kind!r} is empty")
    for twice in (*_repeated(c.name for c in categories), *_repeated(c.id for c in categories)):
        raise TwinsError(f"{file}: several categories are called {twice!r}; each has its own name and id")
    return _Listing(file, images, categories, _each(file, content, "annotations", _annotation))


def _each(file: Path, content: Any, kind: str, read: Callable[[Row], T]) -> list[T]:
    """What `read` returns for each entry of the list `kind`; a ValueError of its becomes a TwinsError naming it."""
    entries = content.get(kind) if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise TwinsError(f"{file}: no list {kind!r} there; expected COCO's annotations of objects, instances_*.json")
    found = []
    for index, entry in enumerate(entries):
        try:
            found.append(read(entry if isinstance(entry, dict) else {}))
        except ValueError as error:
            its_id = f" (id {entry['id']})" if isinstance(entry, dict) and "id" in entry else ""
            raise TwinsError(f"{file}: {kind}[{index}]{its_id}: {error}") from error
    return found


def _image(row: Row) -> _Image:
    return _Image(_whole(row, "id"), _text(row, "file_name"), _size(row))


def _category(row: Row) -> _Category:
    return _Category(_whole(row, "id"), _text(row, "name"), str(row.get("supercategory")))


def _annotation(row: Row) -> _Annotation:
    bbox, area, segmentation = row.get("bbox"), row.get("area"), row.get("segmentation")
    if bbox is None and not segmentation:
        raise ValueError(
            "neither bbox nor segmentation; expected objects (instances_*.json), not captions or keypoints"
        )
    if bbox is not None and not (isinstance(bbox, list) and len(bbox) == 4 and _all_numbers(bbox)):
        raise ValueError(f"bbox is {shortened(bbox)}; expected four numbers, [x, y, width, height]")
    if area is not None and not _all_numbers([area]):
        raise ValueError(f"area is {shortened(area)}; expected a number")
    if (crowd := row.get("iscrowd") or 0) not in (0, 1):
        raise ValueError(f"iscrowd is {shortened(crowd)}; expected 0 or 1")
    return _Annotation(
        _whole(row, "id"),
        _whole(row, "image_id"),
        _whole(row, "category_id"),
        bbox,
        area,
        crowd == 1,
        _segmentation(segmentation),
    )


def _whole(row: Row, field: str) -> int:
    value = row.get(field)
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise ValueError(f"{field} is {shortened(value)}; expected a whole number" if field in row else f"no {field}")
    return value


def _text(row: Row, field: str) -> str:
    value = row.get(field)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{field} is {shortened(value)}; expected text" if field in row else f"no {field}")
    return value


def _size(row: Row) -> Size | None:
    """(height, width), or None where the file has neither."""
    if row.get("width") is None and row.get("height") is None:
        return None
    width, height = _whole(row, "width"), _whole(row, "height")
    return height, width


def _segmentation(segmentation: Any) -> WrittenSegmentation | None:
    """Polygons or an RLE; polygons of fewer than three points enclose nothing and are left out."""
    if not segmentation:
        return None
    if isinstance(segmentation, dict):
        return compressed_rle(segmentation)
    for polygon in segmentation if isinstance(segmentation, list) else [segmentation]:
        if not (isinstance(polygon, list) and len(polygon) % 2 == 0 and _all_numbers(polygon)):
            wrong = shortened(polygon)
            raise ValueError(f"segmentation holds {wrong}; expected polygons, [x, y, x, y, ...], or run-length code")
    return [polygon for polygon in segmentation if len(polygon) >= SHORTEST_POLYGON] or None


def _all_numbers(values: Sequence[Any]) -> bool:
    """Whether all are finite numbers, without a look at each in Python: there are fifty million of them."""
    try:
        return isfinite(sum(values))
    except (TypeError, OverflowError):
        return False


# From tuples to arrays


def _classes(listings: Sequence[_Listing]) -> tuple[str, ...]:
    """The names that both parts share. Raises TwinsError where one has a class that the other lacks.

    Roboflow's first category, which stands for all the others and never occurs, is no class.
    """
    placeholders = set.intersection(*(_placeholders(listing) for listing in listings))
    parts = [[c.name for c in listing.categories if c.name not in placeholders] for listing in listings]
    for listing, names in zip(listings, parts, strict=True):
        if lacking := [name for part in parts for name in part if name not in names]:
            others = next(other.file for other in listings if other.file != listing.file)
            raise TwinsError(f"{listing.file}: lacks category {lacking[0]!r} of {others}; list the same ones in both")
    return tuple(parts[0])


def _placeholders(listing: _Listing) -> set[str]:
    first, *others = listing.categories
    stands_for_all = bool(others) and all(c.parent == first.name for c in others)
    return {first.name} if stands_for_all and all(a.category != first.id for a in listing.annotations) else set()


def _boxed_images(listing: _Listing, classes: tuple[str, ...]) -> BoxedImages:
    entries: dict[int, _Image] = {}
    for entry in listing.images:
        entries.setdefault(entry.id, entry)
    folder = _image_folder(listing.file, [entry.file for entry in entries.values()])
    images = [folder / entry.file for entry in entries.values()]
    sizes = [entry.size or readable_size(path) for entry, path in zip(entries.values(), images, strict=True)]

    index_of = {id: index for index, id in enumerate(entries)}
    id_of = {category.name: category.id for category in listing.categories}
    label_of = {id_of[name]: label for label, name in enumerate(classes)}
    used = [a for a in listing.annotations if a.image in index_of and a.category in label_of]
    used.sort(key=lambda a: index_of[a.image])
    image_of = [index_of[a.image] for a in used]
    objects = _object_table(listing.file, used, image_of, [label_of[a.category] for a in used], sizes)
    return BoxedImages(
        images,
        objects,
        sizes,
        list(entries),
        classes,
        tuple(label_of),
        has_masks=objects.have_masks,
        object_ids=np.split(np.array([a.id for a in used], dtype=np.int64), objects.ends[:-1]),
        errors=tuple(_errors(listing)),
        warnings=tuple(_warnings(listing)),
    )


def _object_table(
    file: Path,
    annotations: Sequence[_Annotation],
    image_of: Sequence[int],
    labels: Sequence[int],
    sizes: Sequence[Size | None],
) -> ObjectTable:
    """All objects; boxes that are not annotated follow from segmentations, areas from segmentations or boxes.

    `image_of` has each annotation's index into `sizes`, in ascending order.
    """
    boxes, areas, segmentations = [], [], Segmentations()
    for annotation, image in zip(annotations, image_of, strict=True):
        segmentation, size = annotation.segmentation, sizes[image]
        if isinstance(segmentation, dict) and size and segmentation["size"] != list(size):
            raise TwinsError(
                f"{file}: annotation {annotation.id}: segmentation of {width_x_height(segmentation['size'])} pixels in "
                f"an image of {width_x_height(size)}; annotate images in the size that they have"
            )
        box, area = annotation.box, annotation.area
        if box is None:
            box = box_of(segmentation, size) if segmentation and size else [0.0] * 4
        if area is None:
            area = area_of(segmentation, size) if segmentation and size else max(box[2], 0) * max(box[3], 0)
        boxes.append(box)
        areas.append(area)
        segmentations.append(segmentation)
    return ObjectTable(
        boxes=np.array(boxes, dtype=np.float64).reshape(-1, 4),
        labels=np.array(labels, dtype=np.int64),
        crowd=np.array([a.crowd for a in annotations], dtype=bool),
        areas=np.array(areas, dtype=np.float64),
        segmentations=segmentations,
        ends=np.bincount(np.array(image_of, dtype=np.int64), minlength=len(sizes)).cumsum(),
    )


def _image_folder(file: Path, names: Sequence[str]) -> Path:
    """The first of the usual folders that has one of the first images. Raises TwinsError where none has."""
    home = file.parent.parent if file.parent.name == "annotations" else file.parent
    parts = dict.fromkeys((file.stem.removeprefix("instances_"), *_FOLDERS.get(_part_of(file), ())))
    folders = [home / inside / part for part in parts for inside in ("", "images")] + [home / "images", home]
    tried = [names[index] for index in evenly(len(names), _TRIED)]
    for folder in folders:
        if any((folder / name).is_file() for name in tried):
            return folder
    known = ", ".join(str(folder) for folder in folders if folder.is_dir())
    raise TwinsError(f"{file}: none of its images, as {names[0]}, is in any of {known}")


def _errors(listing: _Listing) -> Iterator[str]:
    categories = {category.id for category in listing.categories}
    unknown = [f"{a.id} (category {a.category})" for a in listing.annotations if a.category not in categories]
    yield from _with_examples(listing, "annotations of categories that are not listed", unknown)
    yield from _with_examples(listing, "ids that several images share", _repeated(p.id for p in listing.images))


def _warnings(listing: _Listing) -> Iterator[str]:
    images = {image.id for image in listing.images}
    unknown = [f"{a.id} (image {a.image})" for a in listing.annotations if a.image not in images]
    yield from _with_examples(listing, "annotations of images that are not listed, left out", unknown)
    yield from _with_examples(
        listing, "ids that several annotations share", _repeated(a.id for a in listing.annotations)
    )


def _with_examples(listing: _Listing, kind: str, which: Sequence[Any]) -> Iterator[str]:
    if which:
        yield f"{listing.file}: {kind}: {Examples(len(which), tuple(map(str, which[:FEW])))}"


def _repeated(values: Iterable[T]) -> list[T]:
    """Each value that is there more than once."""
    return [value for value, count in Counter(values).items() if count > 1]

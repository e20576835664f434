"""COCO's layout: a JSON file for each part, with all its images, objects and classes.

COCO keeps `annotations/instances_train2017.json` beside `train2017/`, Roboflow `train/_annotations.coco.json` among the
images, CVAT `annotations/instances_default.json` beside `images/default/`, FiftyOne `labels.json` beside `data/`, Label
Studio `result.json` beside `images/`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from ...errors import TwinsError
from ..annotation_errors import FEW, a_few
from ..folders import TRAIN_FOLDERS, VAL_FOLDERS
from ..listed_files import locate_files, quoted
from .coco_categories import shared_classes, without_root_categories
from .coco_file import Listing, looks_like_coco, read_listing, without_collector
from .coco_objects import boxed_images, listed_once
from .dataset import BoxedImages

COCO_LAYOUT = "annotations/instances_train.json beside train/, train/_annotations.coco.json, or the file itself (COCO)"

_OF_MANY_TOOLS = ("labels.json", "result.json")  # FiftyOne's and Label Studio's, but others write such names as well
_AMONG_IMAGES = ("_annotations.coco.json", "annotations.json", *_OF_MANY_TOOLS)  # or beside their folder
_FOLDERS = {"train": TRAIN_FOLDERS, "val": VAL_FOLDERS, "test": ("test",)}
_TRIED = 100  # JSON files that are looked into for a hint


@without_collector()
def read_coco(root: Path) -> tuple[BoxedImages | None, BoxedImages | None]:
    """(training, validation) images under `root`, or of one JSON file; either is None where its file is not there.

    A file that is named neither train nor val holds training images; test files are left alone. Classes come in the
    order of the category ids, and are the same in both parts. Raises TwinsError, naming file and entry, for what cannot
    be read; what can be read but not used stands in `errors` and `warnings`.
    """
    files = annotation_files(root)
    listings = without_root_categories([read_listing(file) for file in files if file])
    if not listings:
        hint = hint_at_json(root)
        raise TwinsError(f"{root}: no annotations in COCO's layout{hint}; --data takes a folder with {COCO_LAYOUT}")
    classes = shared_classes([listing for listing, _ in listings])
    parts = iter([_part(listing, classes, dropped) for listing, dropped in listings])
    train, val = (next(parts) if file else None for file in files)
    return train, val


def _part(listing: Listing, classes: tuple[str, ...], dropped: str | None) -> BoxedImages:
    """Raises TwinsError where none of the first images is anywhere."""
    names, folders = [entry.file for entry in listed_once(listing)], _usual_folders(listing.file)
    images = locate_files(names, folders)
    if images is None:
        known = ", ".join(str(folder) for folder in folders if folder.is_dir())
        raise TwinsError(f"{listing.file}: none of its images, as {quoted(names[0])}, is in any of {known}")
    renamed = images.warning and f"{listing.file}: {images.warning}"
    return boxed_images(listing, images.files, classes, [line for line in (renamed, dropped) if line])


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
    beside = [f"{folder}/{name}" for folders in _FOLDERS.values() for folder in folders for name in _AMONG_IMAGES]
    for pattern in ("instances_*.json", *_AMONG_IMAGES, *beside):
        yield from (file for file in root.glob(pattern) if file.name not in _OF_MANY_TOOLS or looks_like_coco(file))


def _part_of(file: Path) -> str:
    """train, val or test; whole where the name says none of these, or several."""
    if file.name in _AMONG_IMAGES:
        return next((part for part, folders in _FOLDERS.items() if file.parent.name in folders), "whole")
    named = set(re.findall(r"(?<![a-z])(train|val|test)(?:ing|id|idation)?(?![a-z])", file.stem.lower()))
    return named.pop() if len(named) == 1 else "whole"


def hint_at_json(root: Path) -> str:
    """Names a file under `root` that holds COCO's annotations by a name that is not looked for, if there is one."""
    if not root.is_dir():
        return ""
    files = sorted([*root.glob("*.json"), *root.glob("*/*.json")])[:_TRIED]
    found = next((file for file in files if looks_like_coco(file)), None)
    return f" (found {found.relative_to(root)}: pass --data {found})" if found else ""


def _usual_folders(file: Path) -> list[Path]:
    home = file.parent.parent if file.parent.name == "annotations" else file.parent
    parts = dict.fromkeys((file.stem.removeprefix("instances_"), *_FOLDERS.get(_part_of(file), ())))
    return [home / inside / part for part in parts for inside in ("", "images")] + [
        home / "images",
        home / "data",
        home,
    ]

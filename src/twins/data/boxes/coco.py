"""COCO's layout: a JSON file for each part, with all its images, objects and classes.

COCO keeps `annotations/instances_train2017.json` beside `train2017/`, Roboflow `train/_annotations.coco.json` among the
images, CVAT `annotations/instances_default.json` beside `images/default/`, FiftyOne `labels.json` beside `data/`, Label
Studio `result.json` beside `images/`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from ...errors import TwinsError
from ..annotation_errors import FEW, a_few
from ..folders import NAMES_OF_PARTS, folders_in, missing_part, part_named_in, part_of, unused_test_images
from ..listed_files import locate_files, quoted
from .coco_categories import shared_classes, without_root_categories
from .coco_file import Listing, looks_like_coco, read_listing, without_collector
from .coco_objects import boxed_images, listed_once
from .dataset import BoxedImages

COCO_LAYOUT = "annotations/instances_train.json beside train/, train/_annotations.coco.json, or the file itself (COCO)"

_OF_MANY_TOOLS = ("labels.json", "result.json")  # FiftyOne's and Label Studio's, but others write such names as well
_AMONG_IMAGES = ("_annotations.coco.json", "annotations.json", *_OF_MANY_TOOLS)  # or beside their folder
_TRIED = 100  # JSON files that are looked into for a hint


@without_collector()
def read_coco(root: Path, part: str = "val") -> tuple[BoxedImages | None, BoxedImages | None]:
    """Images for training under `root`, or of one JSON file, and those of a `part`, "val" or "test".

    Either is None where its file is not there. A file that is named for no part holds training images. Classes come in
    the order of the category ids, and are the same in both parts. Raises TwinsError, naming file and entry, for what
    cannot be read; what can be read but not used stands in `errors` and `warnings`.
    """
    files = annotation_files(root, part)
    listings = without_root_categories([read_listing(file) for file in files if file])
    if not listings:
        hint = hint_at_json(root)
        raise TwinsError(f"{root}: no annotations in COCO's layout{hint}; --data takes a folder with {COCO_LAYOUT}")
    classes = shared_classes([listing for listing, _ in listings])
    parts = iter([_part(listing, classes, dropped) for listing, dropped in listings])
    train, measured = (next(parts) if file else None for file in files)
    if train and root.is_dir():
        unused = unused_test_images(root, part, annotated_parts(root))
        train = train.of_part(_part_of(listings[0][0].file) or "").warned(*unused)
    return train, measured


def _part(listing: Listing, classes: tuple[str, ...], dropped: str | None) -> BoxedImages:
    """Raises TwinsError where none of the first images is anywhere."""
    names, folders = [entry.file for entry in listed_once(listing)], _usual_folders(listing.file)
    images = locate_files(names, folders)
    if images is None:
        known = ", ".join(str(folder) for folder in folders if folder.is_dir())
        raise TwinsError(f"{listing.file}: none of its images, as {quoted(names[0])}, is in any of {known}")
    renamed = images.warning and f"{listing.file}: {images.warning}"
    return boxed_images(listing, images.files, classes, [line for line in (renamed, dropped) if line])


def annotation_files(root: Path, part: str = "val") -> tuple[Path | None, Path | None]:
    """The files of the training images and of a `part`, "val" or "test".

    Raises TwinsError where several could be either, and for a missing test part.
    """
    if root.is_file():  # all the data there is
        if part == "test" and _part_of(root) != "test":
            raise missing_part(root, part, [_part_of(root) or "train"])
        return (None, root) if _part_of(root) in ("val", "test") else (root, None)
    by_part = annotated_parts(root)
    if part == "test" and part not in by_part:
        raise missing_part(root, part, by_part)
    train, measured = by_part.get("train", []), by_part.get(part, [])
    for several in (train, measured):
        if len(several) > 1:
            names = a_few([file.relative_to(root).as_posix() for file in several[:FEW]], len(several))
            raise TwinsError(f"{root}: which annotations to take is unclear: {names}; keep one, or pass it as --data")
    return (train[0] if train else None), (measured[0] if measured else None)


def annotated_parts(root: Path) -> dict[str, list[Path]]:
    """The files that could hold each part; what is named for none, or for several, is for training."""
    by_part: dict[str, list[Path]] = defaultdict(list)
    for file in sorted(_candidates(root)):
        by_part[_part_of(file) or "train"].append(file)
    return dict(by_part)


def _candidates(root: Path) -> Iterator[Path]:
    yield from [*root.glob("annotations/instances_*.json")] or root.glob("annotations/*.json")
    yield from root.glob("instances_*.json")
    for folder in (root, *(folder for folder in folders_in(root) if part_of(folder.name))):
        files = [folder / name for name in _AMONG_IMAGES if (folder / name).is_file()]
        yield from (file for file in files if file.name not in _OF_MANY_TOOLS or looks_like_coco(file))


def _part_of(file: Path) -> str | None:
    """train, val or test; None where the name says none of these, or several."""
    return part_of(file.parent.name) if file.name in _AMONG_IMAGES else part_named_in(file.stem)


def hint_at_json(root: Path) -> str:
    """Names a file under `root` that holds COCO's annotations by a name that is not looked for, if there is one."""
    if not root.is_dir():
        return ""
    files = sorted([*root.glob("*.json"), *root.glob("*/*.json")])[:_TRIED]
    found = next((file for file in files if looks_like_coco(file)), None)
    return f" (found {found.relative_to(root)}: pass --data {found})" if found else ""


def _usual_folders(file: Path) -> list[Path]:
    home = file.parent.parent if file.parent.name == "annotations" else file.parent
    parts = dict.fromkeys((file.stem.removeprefix("instances_"), *NAMES_OF_PARTS.get(_part_of(file) or "", ())))
    return [home / inside / part for part in parts for inside in ("", "images")] + [
        home / "images",
        home / "data",
        home,
    ]

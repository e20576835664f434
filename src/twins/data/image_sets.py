"""Pascal VOC's lists of which images are of which part, `ImageSets/Segmentation/train.txt`, as CVAT writes them too."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeVar

from ..errors import TwinsError
from .annotation_errors import FEW, a_few
from .data_part import DataPart
from .folders import missing_part, part_of, unused_test_images
from .images import IMAGE_SUFFIXES

Images = TypeVar("Images", bound=DataPart)

_WHOLE = ("trainval", "default", "all")  # lists of images of several parts, or of no part in particular


class ImageSetLists(NamedTuple):
    """The lists in a folder."""

    folder: Path
    parts: dict[str, Path]
    whole: Path | None


def image_set_lists(root: Path, kind: str) -> ImageSetLists | None:
    """The lists below `root/ImageSets` for a task, in the folder "Segmentation" or "Main", or else those of another."""
    home = root / "ImageSets"
    for folder in dict.fromkeys((home / kind, home / "Segmentation", home / "Main", home)):
        files = sorted(folder.glob("*.txt")) if folder.is_dir() else []
        parts = {part: file for file in reversed(files) if (part := part_of(file.stem))}
        whole = next((file for name in _WHOLE for file in files if file.stem.lower() == name), None)
        if parts or whole:
            return ImageSetLists(folder, parts, whole)
    return None


def by_image_sets(images: Images, lists: ImageSetLists, part: str) -> tuple[Images | None, Images | None]:
    """Images for training and those of a `part`, "val" or "test", out of all `images`; either is None without a list.

    Raises TwinsError for lists that are empty, of which no image is there, or that could mean several.
    """
    if part == "test" and part not in lists.parts:
        raise missing_part(lists.folder, part, lists.parts)
    listed, warnings = _listed(images, lists)
    left_out = len(images) - len(set().union(*listed.values()))
    if left_out:
        warnings.append(f"{lists.folder}: {left_out} images are in none of its lists, left out")
    train, measured = (images.subset(listed[name]) if name in listed else None for name in ("train", part))
    warnings += unused_test_images(lists.folder, part, lists.parts)
    if train is None:
        return None, measured and measured.warned(*warnings)
    return train.of_part("train" if "train" in lists.parts else "").warned(*warnings), measured


def _listed(images: DataPart, lists: ImageSetLists) -> tuple[dict[str, list[int]], list[str]]:
    """The indices of each part, and warnings of what is listed but not there."""
    index_of = _indices_by_name(images)
    listed: dict[str, list[int]] = {}
    warnings = []
    for part, file in lists.parts.items():
        listed[part], missing = _indices(file, index_of)
        warnings += missing
    if "train" not in listed and lists.whole is not None:
        every, missing = _indices(lists.whole, index_of)
        elsewhere = set().union(*listed.values())
        listed["train"] = [index for index in every if index not in elsewhere]
        warnings += missing
    return listed, warnings


def _indices_by_name(images: DataPart) -> dict[str, list[int]]:
    """Of each image by its path without the suffix, from any of its folders on: "7", "a/7", "JPEGImages/a/7"."""
    found: dict[str, list[int]] = defaultdict(list)
    for index in range(len(images)):
        folders = PurePosixPath(Path(images.name(index)).as_posix()).with_suffix("").parts
        for depth in range(1, 5):
            found["/".join(folders[-depth:])].append(index)
    return found


def _indices(file: Path, index_of: dict[str, list[int]]) -> tuple[list[int], list[str]]:
    """The images of a list in the order of the data, and the warning of those that are not there."""
    names = _names(file)
    for name in names:
        if len(index_of.get(name, ())) > 1:
            raise TwinsError(f"{file}: {name} could be several images; list each with its folder")
    found = sorted({index for name in names for index in index_of.get(name, ())})
    missing = [name for name in names if name not in index_of]
    if not found:
        raise TwinsError(f"{file}: none of its {len(names)} images is there with its annotation, as {names[0]}")
    if not missing:
        return found, []
    return found, [f"{file}: not there with an annotation: {a_few(missing[:FEW], len(missing))}"]


def _names(file: Path) -> Sequence[str]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TwinsError(f"{file}: cannot be read ({error})") from error
    names = [line.strip().replace("\\", "/") for line in lines if line.strip()]
    if not names:
        raise TwinsError(f"{file}: an empty list")
    return [name[: name.rindex(".")] if name.lower().endswith(IMAGE_SUFFIXES) else name for name in names]

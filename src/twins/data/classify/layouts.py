"""Pictures from disk, in every layout that is understood."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...errors import TwinsError
from ...recipes import ClassifyRecipe, DetectRecipe, Recipe, SegmentRecipe
from ..boxes.coco import COCO_LAYOUT, annotation_files, read_coco
from ..boxes.dataset import BoxedImages
from ..boxes.yolo import YOLO_LAYOUT, read_yolo, yolo_file
from ..digits import read_digits
from ..images import ImageSet
from ..masks.dataset import MaskedImages
from ..masks.layouts import MASK_FOLDERS, PICTURE_FOLDERS, read_mask_folders
from ..split import Pictures, stratified_split
from ..synthetic_scenes import write_boxed_canvases, write_masked_canvases
from .cifar import read_cifar100
from .folder import read_folder
from .inaturalist import read_inaturalist
from .list_file import read_lists

__all__ = ["BoxedImages", "ImageSet", "MaskedImages", "open_boxed", "open_labelled", "open_masked"]

_KINDS = [{name.lower() for name in kind} for kind in (PICTURE_FOLDERS, MASK_FOLDERS)]


def open_labelled(recipe: ClassifyRecipe, evaluation_only: bool = False) -> tuple[ImageSet | None, ImageSet]:
    """(training, held out) pictures of a recipe's data; a part is held out by `val_split` where the data has none.

    With `evaluation_only` training pictures may be missing, and a `val_split` of 0 takes all pictures. Raises
    TwinsError, naming file or folder, for data that cannot be used.
    """
    root = Path(recipe.data)
    train: ImageSet | None
    val: ImageSet | None
    match _layout(recipe, root):
        case "digits":
            train, val = read_digits()
        case "cifar100":
            train, val = read_cifar100(root)
        case "inat2018":
            train, val = read_inaturalist(root, 2018, recipe.inat_category)
        case "inat2019":
            train, val = read_inaturalist(root, 2019, recipe.inat_category)
        case "list":
            train, val = read_lists(root)
        case _:
            try:
                train, val = read_folder(root)
            except TwinsError as error:
                if root.is_dir() and (any(annotation_files(root)) or yolo_file(root)):
                    raise TwinsError(
                        f"{root}: holds boxes of objects, not a folder a class: pass --task detect"
                    ) from error
                raise
            _refuse_masks(root, train or val)
    train, val = _parted(train, val, recipe, evaluation_only, None if train is None else train.labels)
    if train is not None and not evaluation_only and len(train.classes) < 2:
        raise TwinsError(f"{root}: one class alone ({train.classes[0]!r}) leaves nothing to tell apart; add another")
    return train, val


def open_masked(recipe: SegmentRecipe, evaluation_only: bool = False) -> tuple[MaskedImages | None, MaskedImages]:
    """(training, held out) pictures with masks, by the same rules; `digits` are written below the output folder first.

    Classes may be without names yet: nobody need name them.
    """
    if recipe.data == "digits":
        recipe = recipe.replace(data=str(write_masked_canvases(Path(recipe.output, "data", "digit-canvases"))))
    train, val = _parted(*read_mask_folders(recipe), recipe, evaluation_only)
    if train is not None and train.unpaired == val.unpaired:  # both from one folder, of which this is told once
        val = replace(val, unpaired=())
    return train, val


def open_boxed(recipe: DetectRecipe, evaluation_only: bool = False) -> tuple[BoxedImages | None, BoxedImages]:
    """(training, held out) pictures with boxes, by the same rules; `digits` are written below the output folder first.

    The data may be named by its folder, or by its JSON or YAML file.
    """
    if recipe.data == "digits":
        recipe = recipe.replace(data=str(write_boxed_canvases(Path(recipe.output, "data", "digit-canvases-coco"))))
    root = Path(recipe.data)
    read = read_coco if _box_layout(recipe, root) == "coco" else read_yolo
    train, val = _parted(*read(root), recipe, evaluation_only)
    if train is not None and (train.faults, train.oddities) == (val.faults, val.oddities):  # both from one file
        val = replace(val, faults=(), oddities=())
    return train, val


def _refuse_masks(root: Path, images: ImageSet | None) -> None:
    """Folders of pictures and of masks would pass for two classes."""
    names = {name.lower() for name in images.classes} if images else set()
    if all(names & kind for kind in _KINDS) and names <= _KINDS[0] | _KINDS[1]:
        raise TwinsError(f"{root}: holds pictures and masks, not a folder a class: pass --task segment")


def _parted(
    train: Pictures | None,
    val: Pictures | None,
    recipe: Recipe,
    evaluation_only: bool,
    labels: Sequence[int] | None = None,
) -> tuple[Pictures | None, Pictures]:
    """Both parts, the held-out one taken from the training pictures where the data has none."""
    if train is None and not evaluation_only:
        raise TwinsError(f"{recipe.data}: no training pictures; expected a folder train/ beside the held-out ones")
    if val is not None:
        return train, val
    assert train is not None
    if evaluation_only and recipe.val_split == 0:
        return None, train
    train, val = stratified_split(train, recipe.val_split, recipe.seed, labels)
    if not len(val):
        raise TwinsError(f"{recipe.data}: nothing to hold out of {len(train)} pictures; add val/ or raise --val-split")
    return train, val


def _layout(recipe: ClassifyRecipe, root: Path) -> str:
    if recipe.dataset != "auto":
        return recipe.dataset
    if recipe.data == "digits":
        return "digits"
    if (root / "cifar-100-python").is_dir():
        return "cifar100"
    for year in (2018, 2019):
        if (root / f"train{year}.json").is_file():
            return f"inat{year}"
    if (root / "meta" / "train.txt").is_file() and not (root / "train").is_dir():
        return "list"
    return "folder"


def _box_layout(recipe: DetectRecipe, root: Path) -> str:
    if recipe.dataset != "auto":
        return recipe.dataset
    if root.is_file():
        layouts = {".json": ["coco"], ".yaml": ["yolo"], ".yml": ["yolo"]}.get(root.suffix, [])
    else:
        there = {"coco": any(annotation_files(root)), "yolo": yolo_file(root) is not None}
        layouts = [layout for layout, is_there in there.items() if is_there]
    if len(layouts) > 1:
        raise TwinsError(f"{root}: holds annotations in the layouts of {' and '.join(layouts)}; choose by --dataset")
    if not layouts:
        wrong = f"no boxes there{_other_task(root)}" if root.exists() else "no such file or folder"
        raise TwinsError(f"{root}: {wrong}; --data takes a folder with {COCO_LAYOUT}, or with {YOLO_LAYOUT}")
    return layouts[0]


def _other_task(root: Path) -> str:
    """A hint at the task that the folders here look made for."""
    place = root / "train" if (root / "train").is_dir() else root
    names = {child.name.lower() for child in place.glob("*/")}
    if all(names & kind for kind in _KINDS):
        return " (pictures and masks? pass --task segment)"
    return " (a folder a class? pass --task classify)" if len(names) > 1 else ""

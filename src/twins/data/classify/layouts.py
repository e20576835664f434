"""Which layout a folder of labelled images has, and its two parts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ...errors import TwinsError
from ...recipes import ClassifyRecipe
from ..boxes.recognition import boxes_at
from ..digits import read_digits
from ..folders import folders_in, missing_part, part_folders
from ..images import read_as
from ..masks.layouts import are_images_and_masks
from ..shards.naming import are_shards, shards_in
from ..split import split_parts
from .cifar import read_cifar100
from .dataset import LabelledImages
from .few_images import warning_of_single_images, with_classes_that_have_images
from .folder import read_folder
from .inaturalist import read_inaturalist
from .list_file import list_files, read_lists
from .shards import read_shards
from .table import find_tables, holds_class_folders, read_table

_TWO_PARTS = ("digits", "cifar100", "inat2018", "inat2019")  # layouts without a test part


def open_labelled(
    recipe: ClassifyRecipe, evaluation_only: bool = False
) -> tuple[LabelledImages | None, LabelledImages]:
    """(training, validation) images of a recipe's data, the latter split off by `val_split` where the data has none.

    With `evaluation_only` training images may be missing, a `val_split` of 0 takes all images, and the second are those
    of the recipe's `part`. Raises TwinsError, naming file or folder, for data that cannot be used.
    """
    root = Path(recipe.data)
    part = "test" if evaluation_only and recipe.part == "test" else "val"
    layout = _layout(recipe, root)
    if part == "test" and layout in _TWO_PARTS:
        raise missing_part(root, part, ("train", "val"))
    train: LabelledImages | None
    val: LabelledImages | None
    match layout:
        case "digits":
            train, val = read_digits()
        case "cifar100":
            train, val = read_cifar100(root)
        case "inat2018":
            train, val = read_inaturalist(root, 2018, recipe.inat_category)
        case "inat2019":
            train, val = read_inaturalist(root, 2019, recipe.inat_category)
        case "list":
            train, val = read_lists(root, part)
        case "csv":
            train, val = read_table(root, part)
        case "shards":
            train, val = read_shards(recipe, part)
        case _:
            _refuse_masks(root)
            try:
                train, val = read_folder(root, part)
            except TwinsError as error:
                if boxes := boxes_at(root):
                    raise TwinsError(f"{root}: {boxes}, not a folder a class: pass --task detect") from error
                raise
            train, val = (images and _beside_tables(root, images) for images in (train, val))
            if train is not None and not evaluation_only:
                train, val = with_classes_that_have_images(train, val)
    train, val = split_parts(train, val, recipe, evaluation_only, None if train is None else train.labels)
    if train is not None and not evaluation_only and len(train.classes) < 2:
        raise TwinsError(f"{root}: one class alone ({train.classes[0]!r}) leaves nothing to tell apart; add another")
    if train is not None and not evaluation_only:
        train = replace(train, warnings=(*train.warnings, *warning_of_single_images(train, val)))
    return read_as(recipe, train), read_as(recipe, val)


def _refuse_masks(root: Path) -> None:
    """Folders of images and of masks would pass for two classes, or for two parts."""
    for folder in (root, part_folders(root).parts.get("train", root)):
        if are_images_and_masks([child.name for child in folders_in(folder)], nothing_else=True):
            raise TwinsError(f"{root}: holds images and masks, not a folder a class: pass --task segment")


def _beside_tables(root: Path, images: LabelledImages) -> LabelledImages:
    """With a warning of tables of labels, which are not read."""
    tables = [path for paths in find_tables(root).values() for path in paths]
    unread = (f"{path}: not read, as there is a folder a class; --dataset csv reads it" for path in tables)
    return replace(images, warnings=(*images.warnings, *unread))


def _layout(recipe: ClassifyRecipe, root: Path) -> str:
    if recipe.dataset != "auto":
        return recipe.dataset
    if recipe.data == "digits":
        return "digits"
    if not root.is_dir() and are_shards(recipe.data):
        return "shards"
    if (root / "cifar-100-python").is_dir():
        return "cifar100"
    for year in (2018, 2019):
        if (root / f"train{year}.json").is_file():
            return f"inat{year}"
    if list_files(root) and "train" not in part_folders(root).parts:
        return "list"
    if find_tables(root) and not holds_class_folders(root):
        return "csv"
    if shards_in(root) and not holds_class_folders(root):
        return "shards"
    return "folder"

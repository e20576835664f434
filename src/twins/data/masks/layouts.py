"""Folders of images with folders of masks beside them, in every usual arrangement.

ADE20K keeps `images/training` and `annotations/training`, Cityscapes `leftImg8bit/train` and `gtFine/train`, others
`train/images` and `train/masks`: folders of images and of masks, with the parts either inside or around them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ...errors import TwinsError
from ...recipes import SegmentRecipe
from ..file_walk import left_out_beside
from ..folders import TRAIN_FOLDERS, VAL_FOLDERS
from ..images import read_as
from ..split import split_parts
from ..synthetic_scenes import write_masked_scenes
from .class_table import ClassTable, find_class_table
from .dataset import MaskedImages
from .decoding import MaskCoding
from .pairing import are_side_by_side, pair_up

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "leftImg8bit", "JPEGImages")
PART_FOLDERS = (TRAIN_FOLDERS, VAL_FOLDERS)
MASK_FOLDERS = ("masks", "mask", "labels", "annotations", "gtFine", "SegmentationClass")

LAYOUT = "--data takes a folder with images/train and masks/train, train/images and train/masks, or images and masks"

Folders = tuple[Path, Path]  # of images, of masks


def are_images_and_masks(names: Iterable[str], nothing_else: bool = False) -> bool:
    """Whether names of folders are among those of images and those of masks, and with `nothing_else` all of them."""
    kinds = [{name.lower() for name in kind} for kind in (IMAGE_FOLDERS, MASK_FOLDERS)]
    lower = {name.lower() for name in names}
    return all(lower & kind for kind in kinds) and (not nothing_else or lower <= kinds[0] | kinds[1])


def read_mask_folders(recipe: SegmentRecipe) -> tuple[MaskedImages | None, MaskedImages | None]:
    """(training, validation) images with masks under `recipe.data`; either is None where its folders are not there.

    Folders without parts are training images. An image and a mask belong together when their paths are the same
    below these folders but for what ends them; both may lie in one folder. What has no other half is left out and named
    in `warnings`; `notes` say which file the names of the classes come from. Raises
    TwinsError, naming folder or file, for folders that are missing or hold no pair, and for a bad file of class names.
    """
    root = Path(recipe.data)
    if not root.is_dir():
        raise TwinsError(f"{root}: {'is not a folder' if root.exists() else 'no such folder'}; {LAYOUT}")
    table = find_class_table(root, recipe.classes_file)
    coding = _coding(recipe, table)
    notes = (f"{len(table.names)} classes by {table.source}",) if table.source else ()
    train, val = (_open(folders, recipe, table.names, coding, notes) if folders else None for folders in _folders(root))
    return train, val


def _open(
    folders: Folders, recipe: SegmentRecipe, classes: tuple[str, ...], coding: MaskCoding, notes: tuple[str, ...]
) -> MaskedImages:
    pairs = pair_up(*folders, recipe)
    return MaskedImages(pairs.images, pairs.masks, classes, coding, pairs.warnings, (*notes, *pairs.notes))


def _coding(recipe: SegmentRecipe, table: ClassTable) -> MaskCoding:
    """How masks are read by this recipe and these classes. Raises TwinsError for settings that exclude one another."""
    if table.colours and recipe.reduce_zero_label:
        raise TwinsError(
            "--reduce-zero-label is for masks of numbers, but the classes have colours; to leave a colour out pass its "
            "index from 0 as --ignore-index"
        )
    if recipe.mask_threshold is not None and (recipe.reduce_zero_label or len(table.names) not in (0, 2)):
        other = "--reduce-zero-label" if recipe.reduce_zero_label else f"{table.source} with {len(table.names)} classes"
        raise TwinsError(f"--mask-threshold makes two classes of grey levels: it does not go with {other}")
    if recipe.nearest_colour and not table.colours:
        raise TwinsError("--nearest-colour needs colours: write a line `name,R,G,B` for each class into classes.txt")
    return MaskCoding(
        recipe.reduce_zero_label,
        recipe.ignore_index,
        table.colours,
        table.values,
        recipe.mask_threshold,
        recipe.nearest_colour,
        table.ignored_colours,
    )


def _folders(root: Path) -> tuple[Folders | None, Folders | None]:
    """The folders of the training and of the validation part."""
    outer = [_child(root, names) for names in PART_FOLDERS]
    if any(outer):
        train, val = (_both_kinds(part) if part else None for part in outer)
        return train, val
    whole = _both_kinds(root)
    inner = [tuple(_child(folder, names) for folder in whole) for names in PART_FOLDERS]
    if not any(images for images, _ in inner):
        return whole, None
    train, val = (_both_halves(whole, part, names) for part, names in zip(inner, PART_FOLDERS, strict=True))
    return train, val


def _both_kinds(folder: Path) -> Folders:
    images, masks = _child(folder, IMAGE_FOLDERS), _child(folder, MASK_FOLDERS)
    if images and masks:
        return images, masks
    if not masks and are_side_by_side(images or folder):
        return images or folder, images or folder
    kind, names = ("masks", MASK_FOLDERS) if images else ("images", IMAGE_FOLDERS)
    raise TwinsError(f"{folder}: no folder of {kind} there ({', '.join(names)}); {LAYOUT}")


def _both_halves(whole: Folders, part: tuple[Path | None, ...], names: tuple[str, ...]) -> Folders | None:
    images, masks = part
    if images and masks:
        return images, masks
    if images or masks:
        there, lacking = (images, whole[1]) if images else (masks, whole[0])
        raise TwinsError(f"{lacking}: no folder {' or '.join(names)} there to go with {there}; {LAYOUT}")
    return None


def _child(folder: Path, names: Sequence[str]) -> Path | None:
    """The folder inside that has the first of these names, in whatever case."""
    folders = {child.name.lower(): child for child in sorted(folder.iterdir()) if child.is_dir()}
    return next((folders[name.lower()] for name in names if name.lower() in folders), None)


def open_masked(recipe: SegmentRecipe, evaluation_only: bool = False) -> tuple[MaskedImages | None, MaskedImages]:
    """(training, validation) images with masks, by the same rules; `digits` are written below the output folder first.

    Classes may be without names yet: nobody need name them.
    """
    if recipe.data == "digits":
        recipe = recipe.replace(data=str(write_masked_scenes(Path(recipe.output, "data", "digit-scenes"))))
    train, val = split_parts(*read_mask_folders(recipe), recipe, evaluation_only)
    if train is not None and train.warnings == val.warnings:  # both from one folder, so they are given once
        val = replace(val, warnings=())
    left_out = left_out_beside([*(train.images if train else ()), *val.images])
    return read_as(recipe, train), read_as(recipe, replace(val, warnings=(*val.warnings, *left_out)))

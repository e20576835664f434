"""Folders of images with folders of masks beside them, in every usual arrangement.

ADE20K keeps `images/training` and `annotations/training`, Cityscapes `leftImg8bit/train` and `gtFine/train`, others
`train/images` and `train/masks`: folders of images and of masks, with the parts either inside or around them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ...errors import TwinsError
from ...recipes import SegmentRecipe
from ..file_walk import left_out_beside
from ..folders import (
    NAMES_OF_PARTS,
    PARTS,
    PartFolders,
    folders_in,
    missing_part,
    part_folders,
    unused_folders,
    unused_test_images,
)
from ..image_sets import by_image_sets, image_set_lists
from ..images import read_as
from ..shards.naming import refuse_shards
from ..split import split_parts
from ..synthetic_scenes import write_masked_scenes
from .class_table import ClassTable, find_class_table
from .dataset import MaskedImages
from .decoding import MaskCoding
from .pairing import are_side_by_side, pair_up

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "leftImg8bit", "JPEGImages")
MASK_FOLDERS = ("masks", "mask", "labels", "annotations", "gtFine", "SegmentationClass")

LAYOUT = "--data takes a folder with images/train and masks/train, train/images and train/masks, or images and masks"

Folders = tuple[Path, Path]  # of images, of masks


def are_images_and_masks(names: Iterable[str], nothing_else: bool = False) -> bool:
    """Whether names of folders are among those of images and those of masks, and with `nothing_else` all of them."""
    kinds = [{name.lower() for name in kind} for kind in (IMAGE_FOLDERS, MASK_FOLDERS)]
    lower = {name.lower() for name in names}
    return all(lower & kind for kind in kinds) and (not nothing_else or lower <= kinds[0] | kinds[1])


def read_mask_folders(recipe: SegmentRecipe, part: str = "val") -> tuple[MaskedImages | None, MaskedImages | None]:
    """Images with masks under `recipe.data` for training, and those of a `part`, "val" or "test".

    Either is None where its folders are not there. Folders without parts are training images, unless lists below
    `ImageSets/` part them. An image and a mask belong together when their paths are the same
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
    layout = _layout(root)
    lists = image_set_lists(root, "Segmentation") if layout.whole else None
    if layout.whole and lists:
        return by_image_sets(_open(layout.whole, recipe, table.names, coding, notes), lists, part)
    if part == "test" and part not in layout.parts:
        raise missing_part(root, part, layout.parts)
    chosen = (layout.whole or layout.folders("train"), layout.folders(part))
    train, measured = (_open(folders, recipe, table.names, coding, notes) if folders else None for folders in chosen)
    if train and layout.whole and (test := layout.folders("test")):
        train = train.subset([i for i, image in enumerate(train.images) if test[0] not in image.parents])
    unused = (*layout.unused, *unused_test_images(root, part, layout.parts))
    return train and train.of_part("" if layout.whole else "train").warned(*unused), measured


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


class _Layout(NamedTuple):
    """Where images and masks are: all in two folders, or each part in its own."""

    whole: Folders | None
    parts: dict[str, Callable[[], Folders]]
    unused: tuple[str, ...]  # a warning of other folders of images

    def folders(self, part: str) -> Folders | None:
        """Those of a part, if there is one. Raises TwinsError where one of the two is missing."""
        return self.parts[part]() if part in self.parts else None


def _layout(root: Path) -> _Layout:
    outer, others = part_folders(root)
    parts: dict[str, Callable[[], Folders]]
    if "train" in outer or "val" in outer:
        parts = {part: partial(_both_kinds, folder) for part, folder in outer.items()}
        return _Layout(None, parts, unused_folders(root, others))
    whole = _both_kinds(root)
    images, masks = (part_folders(folder) for folder in whole)
    both = images.parts.keys() & masks.parts.keys()
    wanted = [part for part in PARTS if part in images.parts | masks.parts and (part != "test" or part in both)]
    parts = {part: partial(_both_halves, whole, part, images, masks) for part in wanted}
    if "train" not in images.parts and "val" not in images.parts:
        return _Layout(whole, parts, ())
    without_masks = [folder for part, folder in images.parts.items() if part not in parts]
    return _Layout(None, parts, unused_folders(whole[0], [*images.others, *without_masks]))


def _both_kinds(folder: Path) -> Folders:
    images, masks = _child(folder, IMAGE_FOLDERS), _child(folder, MASK_FOLDERS)
    if images and masks:
        return images, masks
    if not masks and are_side_by_side(images or folder):
        return images or folder, images or folder
    kind, names = ("masks", MASK_FOLDERS) if images else ("images", IMAGE_FOLDERS)
    raise TwinsError(f"{folder}: no folder of {kind} there ({', '.join(names)}); {LAYOUT}")


def _both_halves(whole: Folders, part: str, images: PartFolders, masks: PartFolders) -> Folders:
    there = images.parts.get(part), masks.parts.get(part)
    if there[0] and there[1]:
        return there[0], there[1]
    lacking = whole[1] if there[0] else whole[0]
    names = " or ".join(NAMES_OF_PARTS[part])
    raise TwinsError(f"{lacking}: no folder {names} there to go with {there[0] or there[1]}; {LAYOUT}")


def _child(folder: Path, names: Sequence[str]) -> Path | None:
    """The folder inside that has the first of these names, in whatever case."""
    folders = {child.name.lower(): child for child in folders_in(folder)}
    return next((folders[name.lower()] for name in names if name.lower() in folders), None)


def open_masked(recipe: SegmentRecipe, evaluation_only: bool = False) -> tuple[MaskedImages | None, MaskedImages]:
    """(training, validation) images with masks, by the same rules; `digits` are written below the output folder first.

    Classes may be without names yet: nobody need name them. With `evaluation_only` the second are the images of the
    recipe's `part`.
    """
    if recipe.data == "digits":
        recipe = recipe.replace(data=str(write_masked_scenes(Path(recipe.output, "data", "digit-scenes"))))
    refuse_shards(recipe.data)
    part = "test" if evaluation_only and recipe.part == "test" else "val"
    train, val = split_parts(*read_mask_folders(recipe, part), recipe, evaluation_only)
    if train is not None and not evaluation_only and val.split is not None:  # both from one folder
        val = replace(val, warnings=tuple(line for line in val.warnings if line not in train.warnings))
    left_out = left_out_beside([*(train.images if train else ()), *val.images])
    return read_as(recipe, train), read_as(recipe, replace(val, warnings=(*val.warnings, *left_out)))

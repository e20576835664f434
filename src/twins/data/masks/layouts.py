"""Folders of images with folders of masks beside them, in every usual arrangement.

ADE20K keeps `images/training` and `annotations/training`, Cityscapes `leftImg8bit/train` and `gtFine/train`, others
`train/images` and `train/masks`: folders of images and of masks, with the parts either inside or around them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ...class_names import Colour, read_names_and_colours
from ...errors import TwinsError
from ...recipes import SegmentRecipe
from ..annotation_errors import FEW, a_few
from ..file_walk import left_out_beside, walk_files
from ..folders import TRAIN_FOLDERS, VAL_FOLDERS
from ..image_suffixes import IMAGE_SUFFIXES
from ..images import read_as
from ..split import split_parts
from ..synthetic_scenes import write_masked_scenes
from .dataset import MOST_CLASSES, MaskCoding, MaskedImages

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
    below these folders but for the suffixes. What has no other half is left out and named in `warnings`. Raises
    TwinsError, naming folder or file, for folders that are missing or hold no pair, and for a bad file of class names.
    """
    root = Path(recipe.data)
    if not root.is_dir():
        raise TwinsError(f"{root}: {'is not a folder' if root.exists() else 'no such folder'}; {LAYOUT}")
    classes, colours = _class_names(recipe, root)
    if colours and recipe.reduce_zero_label:
        raise TwinsError(
            "--reduce-zero-label is for masks of numbers, but the classes have colours; to leave a colour out pass its "
            "index from 0 as --ignore-index"
        )
    coding = MaskCoding(recipe.reduce_zero_label, recipe.ignore_index, colours)
    train, val = (_pair_up(folders, recipe, classes, coding) if folders else None for folders in _folders(root))
    return train, val


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


def _pair_up(folders: Folders, recipe: SegmentRecipe, classes: tuple[str, ...], coding: MaskCoding) -> MaskedImages:
    image_folder, mask_folder = folders
    img_suffixes = IMAGE_SUFFIXES if recipe.img_suffix is None else (recipe.img_suffix,)
    images = _files_by_stem(image_folder, img_suffixes, "--img-suffix")
    masks = _files_by_stem(mask_folder, (recipe.mask_suffix,), "--mask-suffix")
    both = sorted(images.keys() & masks.keys())
    if not both:
        raise TwinsError(_why_no_pair(image_folder, mask_folder, recipe))
    without_mask = [images[stem] for stem in sorted(images.keys() - masks.keys())]
    without_image = [masks[stem] for stem in sorted(masks.keys() - images.keys())]
    return MaskedImages(
        [image_folder / images[stem] for stem in both],
        [mask_folder / masks[stem] for stem in both],
        classes,
        coding,
        _counted(without_mask, image_folder, "image", "a mask")
        + _counted(without_image, mask_folder, "mask", "an image"),
    )


def _files_by_stem(folder: Path, suffixes: tuple[str, ...], flag: str) -> dict[str, str]:
    """Paths below the folder, by what they are without the suffix."""
    found: dict[str, str] = {}
    for file in _files(folder):
        suffix = next((s for s in suffixes if file.lower().endswith(s.lower())), None)
        if suffix is None:
            continue
        stem = file[: -len(suffix)]
        if stem in found:
            raise TwinsError(f"{folder}: {found[stem]} and {file} differ by suffix alone; say by {flag} which to take")
        found[stem] = file
    return found


def _files(folder: Path) -> list[str]:
    """All files below, sorted; not the hidden ones, of which some systems leave one for each image."""
    return sorted(path.relative_to(folder).as_posix() for path in walk_files(folder).files)


def _why_no_pair(images: Path, masks: Path, recipe: SegmentRecipe) -> str:
    image_files, mask_files = _files(images), _files(masks)
    if mask_files and all(file.lower().endswith((".jpg", ".jpeg")) for file in mask_files):
        return (
            f"{masks}: all masks are JPEG files ({mask_files[0]}); its compression invents values between the classes: "
            f"save masks as PNG files"
        )
    here, there = (f"as {files[0]}" if files else "it is empty" for files in (image_files, mask_files))
    return (
        f"{images}: no image ({here}) has a mask in {masks} ({there}); names must be the same before "
        f"--img-suffix ({recipe.img_suffix or 'any image'}) and --mask-suffix ({recipe.mask_suffix})"
    )


def _counted(files: list[str], folder: Path, kind: str, other: str) -> tuple[str, ...]:
    if not files:
        return ()
    kinds = kind if len(files) == 1 else f"{kind}s"
    return (f"{len(files)} {kinds} without {other} in {folder}: {a_few(files[:FEW], len(files))}",)


def _class_names(recipe: SegmentRecipe, root: Path) -> tuple[tuple[str, ...], tuple[Colour, ...]]:
    """Names and colours of the classes, each empty where no file has them."""
    usual = (root / "classes.txt", root / "objectInfo150.txt")
    named = Path(recipe.classes_file) if recipe.classes_file is not None else None
    path = named or next((path for path in usual if path.is_file()), None)
    if path is None:
        return (), ()
    names, colours = read_names_and_colours(path)
    if not 2 <= len(names) <= MOST_CLASSES:
        raise TwinsError(f"{path}: {len(names)} lines with names of classes; expected 2 to {MOST_CLASSES}")
    return names, colours


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

"""Which layout a folder with boxes has, and its two parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ...errors import TwinsError
from ...recipes import DetectRecipe
from ..file_walk import left_out_beside
from ..folders import part_folders
from ..image_sets import by_image_sets, image_set_lists
from ..images import read_as
from ..masks.layouts import are_images_and_masks
from ..shards.naming import refuse_shards
from ..split import split_parts
from ..synthetic_scenes import write_boxed_scenes
from .coco import COCO_LAYOUT, annotated_parts, hint_at_json, read_coco
from .dataset import BoxedImages
from .yolo import YOLO_LAYOUT, read_yolo, yolo_file

Reader = Callable[[Path, str], tuple[BoxedImages | None, BoxedImages | None]]


def open_boxed(recipe: DetectRecipe, evaluation_only: bool = False) -> tuple[BoxedImages | None, BoxedImages]:
    """(training, validation) images with boxes, by the same rules; `digits` are written below the output folder first.

    The data may be named by its folder, or by its JSON or YAML file. With `evaluation_only` the second are the images
    of the recipe's `part`.
    """
    if recipe.data == "digits":
        recipe = recipe.replace(data=str(write_boxed_scenes(Path(recipe.output, "data", "digit-scenes-coco"))))
    refuse_shards(recipe.data)
    root = Path(recipe.data)
    read = read_coco if _box_layout(recipe, root) == "coco" else read_yolo
    part = "test" if evaluation_only and recipe.part == "test" else "val"
    train, val = split_parts(*_read_parts(read, root, part), recipe, evaluation_only)
    if train is not None and not evaluation_only and val.split is not None:  # both from one file
        val = replace(val, errors=(), warnings=tuple(line for line in val.warnings if line not in train.warnings))
    if read is read_yolo:  # COCO's file names all images that there are
        val = val.warned(*left_out_beside([*(train.images if train else ()), *val.images]))
    return read_as(recipe, train), read_as(recipe, val)


def _read_parts(read: Reader, root: Path, part: str) -> tuple[BoxedImages | None, BoxedImages | None]:
    """Images for training and those of a `part`; lists of Pascal VOC's tell them where annotations do not."""
    lists = image_set_lists(root, "Main")
    if lists is None:
        return read(root, part)
    train, val = read(root, "val")
    return by_image_sets(train, lists, part) if train and not val else read(root, part)


def _box_layout(recipe: DetectRecipe, root: Path) -> str:
    if recipe.dataset != "auto":
        return recipe.dataset
    if root.is_file():
        layouts = {".json": ["coco"], ".yaml": ["yolo"], ".yml": ["yolo"]}.get(root.suffix, [])
    else:
        there = {"coco": bool(annotated_parts(root)), "yolo": yolo_file(root) is not None}
        layouts = [layout for layout, is_there in there.items() if is_there]
    if len(layouts) > 1:
        raise TwinsError(f"{root}: holds annotations in the layouts of {' and '.join(layouts)}; choose by --dataset")
    if not layouts:
        wrong = f"no boxes there{_hint(root)}" if root.exists() else "no such file or folder"
        raise TwinsError(f"{root}: {wrong}; --data takes a folder with {COCO_LAYOUT}, or with {YOLO_LAYOUT}")
    return layouts[0]


def _hint(root: Path) -> str:
    """At a file of annotations by another name, or else at the task that the folders here look made for."""
    if hint := hint_at_json(root):
        return hint
    folder = part_folders(root).parts.get("train", root)
    names = {child.name for child in folder.glob("*/")}
    if are_images_and_masks(names):
        return " (images and masks? pass --task segment)"
    return " (a folder a class? pass --task classify)" if len(names) > 1 else ""

"""ImageNet's layout: a folder a class, under `train/`, `val/` and `test/` or without them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ...errors import TwinsError
from ...shown_text import shown
from ..annotation_errors import FEW, a_few
from ..file_names import same_name
from ..file_walk import is_clutter, is_image, left_out_of, walk_files
from ..folders import (
    folders_in,
    images_under,
    missing_part,
    part_folders,
    part_named_in,
    part_of,
    unused_folders,
    unused_test_images,
)
from ..image_suffixes import USUAL_IMAGES
from ..packed import PackedPaths
from .dataset import LabelledImages


def read_folder(root: Path, part: str = "val") -> tuple[LabelledImages | None, LabelledImages | None]:
    """Images for training under `root`, and those of a `part`, "val" or "test"; either is None without its folder.

    Class folders directly under `root` are training images. Raises TwinsError for a folder that is missing or holds
    no images, a class that only the measured part has, a missing test part, and for classes that are plainly parts.
    """
    if not root.is_dir():
        what = "is not a folder" if root.exists() else "no such folder"
        raise TwinsError(f"{root}: {what}; --data takes a folder with train/ and val/, each with a folder a class")
    folders, others = part_folders(root)
    if not any(folders_in(folder) for folder in folders.values()):  # of these names, but with images directly in them
        _refuse_parts_as_classes(root, folders_in(root))
        if part == "test":
            raise missing_part(root, part, ())
        return read_classes(root), None
    if part == "test" and part not in folders:
        raise missing_part(root, part, folders)
    train = read_classes(folders["train"]).of_part("train") if "train" in folders else None
    classes = train.classes if train else None
    measured = read_classes(folders[part], classes) if part in folders else None
    unused = (*unused_folders(root, others), *unused_test_images(root, part, folders))
    return train and train.warned(*unused), measured


def _refuse_parts_as_classes(root: Path, folders: Sequence[Path]) -> None:
    """Raises TwinsError where folders, by their names, are or hold parts of the data, and would pass for classes."""
    plain, mentioned = ({f: part for f in folders if (part := name(f.name))} for name in (part_of, part_named_in))
    inside = [{child.name for child in folders_in(folder)} for folder in mentioned]
    alike = len(inside) > 1 and len(inside[0]) > 1 and all(names == inside[0] for names in inside)
    if (
        (plain and len(plain) == len(folders))
        or len(set(plain.values())) > 1
        or (len(set(mentioned.values())) > 1 and (alike or len(mentioned) == len(folders)))
    ):
        raise TwinsError(
            f"{root}: {_folder_names(mentioned)} look like parts of the data, not classes; call them train/, val/ and "
            "test/, each with a folder a class"
        )
    for folder in folders:
        if len(parts := part_folders(folder).parts) > 1:
            raise TwinsError(
                f"{folder}: holds {_folder_names(parts.values())}, which look like parts of the data: pass it as "
                "--data, or put the folders of classes into parts"
            )


def _folder_names(folders: Iterable[Path]) -> str:
    return ", ".join(f"{folder.name}/" for folder in folders)


def read_classes(root: Path, classes: tuple[str, ...] | None = None) -> LabelledImages:
    """The images under `root`, labelled by their folder's index in `classes` (the sorted folders by default).

    Classes whose folder is empty, and what else is there, are told in the warnings. Raises TwinsError for a root
    without folders, for one where all of them are empty, and for a folder that is not among `classes`.
    """
    folders = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not is_clutter(entry.name))
    if not folders:
        flat = len(images_under(root))
        what = f"{flat} images without a folder a class, which say nothing of classes" if flat else "no images here"
        raise TwinsError(
            f"{root}: {what}; expected a folder a class, with images in each, or a table, train.csv; "
            "`twins predict` takes images without labels"
        )
    classes = classes or tuple({_class_key(name): shown(name) for name in reversed(folders)}.values())[::-1]
    label_of = {_class_key(name): label for label, name in enumerate(classes)}
    unknown = [shown(name) for name in folders if _class_key(name) not in label_of]
    if unknown:
        raise TwinsError(f"{root}: class {unknown[0]!r} is not among the classes trained on ({_some(classes)})")
    walked = [walk_files(root / name) for name in folders]
    images = [in_class.image_paths for in_class in walked]
    paths = PackedPaths(path for in_class in images for path in in_class)
    folder_labels = [label_of[_class_key(name)] for name in folders]
    labels = [label for label, in_class in zip(folder_labels, images, strict=True) for _ in in_class]
    left_out = left_out_of(walked, root)
    if not paths:
        why = "".join(f"; {line}" for line in left_out)
        raise TwinsError(f"{walked[0].folder}: class folder without images ({USUAL_IMAGES}){why}")
    empty = [name for name, in_class in zip(folders, images, strict=True) if not in_class]
    said = f"{root}: {len(empty)} class folders without images: {a_few(empty[:FEW], len(empty))}"
    return LabelledImages(paths, labels, classes, (*([said] if empty else ()), *left_out, *_beside_classes(root)))


def _class_key(folder: str) -> str:
    """By which a class is known: its folder may be spelt another way in the other part, as macOS composes letters."""
    return same_name(shown(folder))


def _beside_classes(root: Path) -> Iterator[str]:
    """The warning of images that are in no class folder, if there are any."""
    loose = [path for path in root.iterdir() if is_image(path.name) and path.is_file()]
    if loose:
        yield f"left out of {root}, in no class folder: {a_few(sorted(p.name for p in loose)[:FEW], len(loose))}"


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:8]) + (f" ... {len(names)} in all" if len(names) > 8 else "")

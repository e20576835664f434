"""ImageNet's layout: a folder a class, under `train/` and `val/` or without them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ...errors import TwinsError
from ...shown_text import shown
from ..annotation_errors import FEW, a_few
from ..file_names import same_name
from ..file_walk import is_clutter, is_image, left_out_of, walk_files
from ..folders import VAL_FOLDERS, images_under
from ..image_suffixes import USUAL_IMAGES
from .dataset import LabelledImages


def read_folder(root: Path) -> tuple[LabelledImages | None, LabelledImages | None]:
    """(training, validation) images under `root`; either is None where its folder is not there.

    Class folders directly under `root` are training images. Raises TwinsError for a folder that is missing or holds
    no images, a class that only the validation part has.
    """
    if not root.is_dir():
        what = "is not a folder" if root.exists() else "no such folder"
        raise TwinsError(f"{root}: {what}; --data takes a folder with train/ and val/, each with a folder a class")
    val_root = next((root / name for name in VAL_FOLDERS if (root / name).is_dir()), None)
    train_root: Path | None = root / "train"
    if not (root / "train").is_dir():
        train_root = root if val_root is None else None
    train = read_classes(train_root) if train_root else None
    val = read_classes(val_root, classes=train.classes if train else None) if val_root else None
    return train, val


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
    paths = [path for in_class in walked for path in in_class.images]
    labels = [label_of[_class_key(in_class.folder.name)] for in_class in walked for _ in in_class.images]
    left_out = left_out_of(walked, root)
    if not paths:
        why = "".join(f"; {line}" for line in left_out)
        raise TwinsError(f"{walked[0].folder}: class folder without images ({USUAL_IMAGES}){why}")
    empty = [in_class.folder.name for in_class in walked if not in_class.images]
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

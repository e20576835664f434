"""ImageNet's layout: a folder a class, under `train/` and `val/` or without them."""

from __future__ import annotations

from pathlib import Path

from ...errors import TwinsError
from ..annotation_errors import FEW, a_few
from ..folders import VAL_FOLDERS, images_under
from ..images import IMAGE_SUFFIXES
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

    Classes whose folder is empty are told in the warnings. Raises TwinsError for a root without folders, for one where
    all of them are empty, and for a folder that is not among `classes`.
    """
    folders = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not folders:
        flat = len(images_under(root))
        what = f"{flat} images without a folder a class, which say nothing of classes" if flat else "no images here"
        raise TwinsError(
            f"{root}: {what}; expected a folder a class, with images in each, or a table, train.csv; "
            "`twins predict` takes images without labels"
        )
    classes = classes or tuple(folders)
    unknown = [name for name in folders if name not in classes]
    if unknown:
        raise TwinsError(f"{root}: class {unknown[0]!r} is not among the classes trained on ({_some(classes)})")
    label_of = {name: label for label, name in enumerate(classes)}
    paths: list[Path] = []
    labels: list[int] = []
    empty: list[str] = []
    for name in folders:
        found = images_under(root / name)
        if not found:
            empty.append(name)
        paths += found
        labels += [label_of[name]] * len(found)
    if not paths:
        raise TwinsError(f"{root / folders[0]}: class folder without images ({', '.join(IMAGE_SUFFIXES)})")
    said = f"{root}: {len(empty)} class folders without images: {a_few(empty[:FEW], len(empty))}"
    return LabelledImages(paths, labels, classes, (said,) if empty else ())


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:8]) + (f" ... {len(names)} in all" if len(names) > 8 else "")

"""CIFAR-100 as its authors ship it for Python, read without running anything that the pickles ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ...checkpoints.torch_files import UNREADABLE
from ...checkpoints.unpickle import Unpickler, stubs_in
from ...errors import TwinsError
from .dataset import LabelledImages

_SIDE = 32  # pixels, of three channels


def read_cifar100(root: Path) -> tuple[LabelledImages, LabelledImages]:
    """(50,000 training, 10,000 test) images of 32 x 32 from `root` or `root/cifar-100-python`.

    Raises TwinsError for a file that is missing, broken, or asks to run code.
    """
    folder = root / "cifar-100-python" if (root / "cifar-100-python").is_dir() else root
    classes = tuple(map(_text, _list(_read(folder / "meta"), "fine_label_names", folder / "meta")))
    train, test = (_labelled_images(folder / part, classes) for part in ("train", "test"))
    return train, test


def _labelled_images(path: Path, classes: tuple[str, ...]) -> LabelledImages:
    batch = _read(path)
    pixels, labels = batch.get("data"), _list(batch, "fine_labels", path)
    if not isinstance(pixels, Tensor) or pixels.numel() != len(labels) * 3 * _SIDE**2:
        raise TwinsError(f"{path}: not a CIFAR-100 file (no {_SIDE} x {_SIDE} pixels for each of {len(labels)} labels)")
    if not all(type(label) is int and 0 <= label < len(classes) for label in labels):
        raise TwinsError(f"{path}: not a CIFAR-100 file (labels beyond the {len(classes)} classes)")
    images = pixels.numpy().astype(np.uint8).reshape(-1, 3, _SIDE, _SIDE)
    return LabelledImages(images.transpose(0, 2, 3, 1), labels, classes)


def _list(fields: dict[str, Any], name: str, path: Path) -> list[Any]:
    found = fields.get(name)
    if not isinstance(found, list):
        raise TwinsError(f"{path}: not a CIFAR-100 file (no list {name})")
    return found


def _read(path: Path) -> dict[str, Any]:
    """The fields of a file by name, arrays as tensors."""
    try:
        with path.open("rb") as file:
            content = Unpickler(file).load()
    except FileNotFoundError as error:
        raise TwinsError(
            f"{path}: no such file; --data takes the folder that cifar-100-python was unpacked to"
        ) from error
    except UNREADABLE as error:
        raise TwinsError(f"{path}: not a CIFAR-100 file ({error})") from error
    if wanted := stubs_in(content):
        raise TwinsError(f"{path}: not a CIFAR-100 file (it asks for {wanted[0]}, which was not run)")
    if not isinstance(content, dict):
        raise TwinsError(f"{path}: not a CIFAR-100 file (no fields)")
    return {_text(name): value for name, value in content.items()}


def _text(name: Any) -> str:
    """Of Python 2's strings, which are bytes."""
    return name.decode("latin1") if isinstance(name, bytes) else str(name)

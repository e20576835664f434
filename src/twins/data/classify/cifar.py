"""CIFAR-100 as its authors ship it for Python, read without running anything that the pickles ask for."""

from __future__ import annotations

import codecs
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import TwinsError
from .dataset import LabelledImages


def read_cifar100(root: Path) -> tuple[LabelledImages, LabelledImages]:
    """(50,000 training, 10,000 test) images of 32 x 32 from `root` or `root/cifar-100-python`.

    Raises TwinsError for a file that is missing, broken, or asks to run code.
    """
    folder = root / "cifar-100-python" if (root / "cifar-100-python").is_dir() else root
    classes = tuple(name.decode() for name in _read(folder / "meta")[b"fine_label_names"])
    train, test = (_read(folder / part) for part in ("train", "test"))
    return _labelled_images(train, classes), _labelled_images(test, classes)


def _labelled_images(batch: dict[bytes, Any], classes: tuple[str, ...]) -> LabelledImages:
    pixels = np.asarray(batch[b"data"], dtype=np.uint8).reshape(-1, 3, 32, 32)
    return LabelledImages(pixels.transpose(0, 2, 3, 1), list(batch[b"fine_labels"]), classes)


class _ArraysOnly(pickle.Unpickler):
    """Rebuilds plain values and NumPy arrays; anything else in a pickle is refused, not run."""

    def find_class(self, module: str, name: str) -> Any:
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return np._core.multiarray._reconstruct  # type: ignore[attr-defined]
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        if (module, name) == ("_codecs", "encode"):
            return codecs.encode
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which was not run")


def _read(path: Path) -> dict[bytes, Any]:
    try:
        with path.open("rb") as file:
            return _ArraysOnly(file, encoding="bytes").load()
    except FileNotFoundError as error:
        raise TwinsError(
            f"{path}: no such file; --data takes the folder that cifar-100-python was unpacked to"
        ) from error
    except (OSError, pickle.UnpicklingError, EOFError, ValueError) as error:
        raise TwinsError(f"{path}: not a CIFAR-100 file ({error})") from error

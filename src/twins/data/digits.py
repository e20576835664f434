"""The embedded sample set: 1,797 real scans of handwritten digits, 8 x 8 pixels, that scikit-learn ships."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from ..atomic_write import atomic_folder
from ..optional_dependencies import need
from .classify.dataset import LabelledImages
from .split import stratified_split

VAL_SHARE = 0.2
FILE_SIDE = 64  # pixels of scans that are written as files


def read_digits() -> tuple[LabelledImages, LabelledImages]:
    """(1,437 training, 360 validation) scans, always the same, each digit in proportion."""
    scans = need("sklearn.datasets", extra="train").load_digits()
    pixels = np.round(scans.images * (255 / 16)).astype(np.uint8)
    images = LabelledImages(pixels, [int(label) for label in scans.target], tuple("0123456789"))
    return stratified_split(images, VAL_SHARE, seed=0, labels=images.labels)


def write_digit_files(root: Path, counts: Mapping[str, int]) -> Path:
    """The first scans of each part as PNG files under `root`, a folder a class; `counts` says how many of each part.

    Raises TwinsError where nothing can be written.
    """
    with atomic_folder(root, "the scans need room there; choose another place, or make room") as beside:
        for part, count, scans in zip(("train", "val"), counts.values(), read_digits(), strict=True):
            for i in range(count):
                folder = beside / part / scans.classes[scans.labels[i]]
                folder.mkdir(parents=True, exist_ok=True)
                scan = scans.open(i, channels=1).resize((FILE_SIDE, FILE_SIDE), Image.Resampling.BICUBIC)
                scan.save(folder / f"{i:04d}.png")
    return root

"""The embedded sample set: 1,797 real scans of handwritten digits, 8 x 8 pixels, that scikit-learn ships."""

from __future__ import annotations

import numpy as np

from ..optional_dependencies import need
from .classify.dataset import LabelledImages
from .split import stratified_split

VAL_SHARE = 0.2


def read_digits() -> tuple[LabelledImages, LabelledImages]:
    """(1,437 training, 360 validation) scans, always the same, each digit in proportion."""
    scans = need("sklearn.datasets", extra="train").load_digits()
    pixels = np.round(scans.images * (255 / 16)).astype(np.uint8)
    images = LabelledImages(pixels, [int(label) for label in scans.target], tuple("0123456789"))
    return stratified_split(images, VAL_SHARE, seed=0, labels=images.labels)

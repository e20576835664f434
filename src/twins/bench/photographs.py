"""JPEG files to measure the reading of: real photographs that scikit-learn and scikit-image bring with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ..optional_dependencies import need

# Of scikit-image; what others of its images show is drawn, grey, or only downloaded.
_NAMES = (
    *("astronaut.png", "chelsea.png", "coffee.png", "hubble_deep_field.jpg", "ihc.png"),
    *("motorcycle_left.png", "retina.jpg", "rocket.jpg"),
)
QUALITY = 90  # with colours at half the resolution, as most of ImageNet's files are


def write_photographs(root: Path, size: tuple[int, int]) -> int:
    """Write all as JPEG files of (height, width) `size` below `root`, in a data folder's layout; returns how many.

    None is scaled, so that all keep the detail of a photograph: the middle is cut out of large ones, and small ones are
    continued by their mirror images.
    """
    for folder in ("train/even", "train/odd"):
        (root / folder).mkdir(parents=True)
    (root / "val").symlink_to(root / "train", target_is_directory=True)
    photographs = _photographs()
    for number, pixels_HWC in enumerate(photographs):
        path = root / "train" / ("odd" if number % 2 else "even") / f"{number}.jpg"
        Image.fromarray(_fitted(pixels_HWC, size)).save(path, quality=QUALITY, subsampling="4:2:0")
    return len(photographs)


def _photographs() -> list[np.ndarray]:
    folder = Path(str(need("skimage.data", extra="bench").__file__)).parent
    more = [np.asarray(Image.open(folder / name).convert("RGB")) for name in _NAMES]
    return [*need("sklearn.datasets", extra="train").load_sample_images().images, *more]


def _fitted(pixels_HWC: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    for axis, length in enumerate(size):
        start = max(0, (pixels_HWC.shape[axis] - length) // 2)
        pixels_HWC = pixels_HWC.take(range(start, min(start + length, pixels_HWC.shape[axis])), axis)
        missing = length - pixels_HWC.shape[axis]
        padding = [(missing // 2, missing - missing // 2) if i == axis else (0, 0) for i in range(3)]
        pixels_HWC = np.pad(pixels_HWC, padding, mode="symmetric")
    return pixels_HWC

"""Small image folders, and settings of networks of a few thousand parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def make_images(root: Path, classes: dict[str, int], **parts: int) -> Path:
    """Noise around one brightness a class, so that a network can tell the classes apart after a few steps."""
    rng = np.random.default_rng(0)
    for part, count in parts.items():
        for name, brightness in classes.items():
            folder = root / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 16, (40, 48 if i % 2 else 56, 3)) + brightness
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i:02d}.png")
    return root


TINY = {"embed_dims": (16, 16, 32, 32), "num_heads": (1, 1, 2, 2), "depths": (1, 1, 1, 1), "mlp_ratios": (1, 1, 1, 1)}


# Two epochs of a network of a few thousand parameters.
TINY_RUN: dict[str, Any] = {
    **{"model": "twins_svt_small", "name": "tiny", "workers": 0, "device": "cpu"},
    **{"epochs": 2, "lr": 1e-3, "warmup_epochs": 0},
}

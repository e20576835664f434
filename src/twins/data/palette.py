"""Colours that tell classes apart, the same wherever a class is drawn."""

from __future__ import annotations

import colorsys

import numpy as np

_GOLDEN = 0.618034  # steps of the golden ratio around the colour circle never come close to one another for long


def class_colours(count: int) -> np.ndarray:
    """(count, 3) uint8: red, green, blue. The first is dark, since the first class is the background as a rule."""
    hues = [(label * _GOLDEN) % 1 for label in range(count - 1)]
    rest = [colorsys.hsv_to_rgb(hue, (0.85, 0.6)[i % 2], (1.0, 0.8)[i // 2 % 2]) for i, hue in enumerate(hues)]
    return np.round(np.array([(0.16, 0.16, 0.2), *rest]) * 255).astype(np.uint8)


def object_colours(count: int) -> np.ndarray:
    """(count, 3) uint8 for classes of objects, of which none is the background."""
    return class_colours(count + 1)[1:]

"""Shears and shifts of images along one axis, with Pillow's interpolation applied to whole rows.

Where an affine map leaves one axis alone, two-dimensional interpolation comes down to four (bicubic) or two (bilinear)
weights that all pixels of a row share. A few passes over the rows then do what Pillow does pixel by pixel; no value of
the output differs by more than 1 of 255.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

Operation = Callable[..., Image.Image]
_TRANSPOSE = Image.Transpose.TRANSPOSE
_CHANNELS = 3
_EDGE = 2  # pixels beyond either end of a row that the widest weights reach from inside


def shift_rows(image: Image.Image, offsets: np.ndarray, resample: int, fill: Sequence[int]) -> Image.Image:
    """An RGB image of the same size whose row y is read `offsets[y]` pixels further to the right.

    `offsets` is (H,) float, `resample` Pillow's BICUBIC or BILINEAR. Pixels whose centre is read from beyond the image
    have the colour `fill`.
    """
    pixels_HWC = np.asarray(image)
    height, width, _ = pixels_HWC.shape
    whole = np.floor(offsets).astype(int)
    first, weights = _taps((offsets - whole).astype(np.float32), resample)
    margin = int(np.abs(whole).max()) + len(weights)
    reach = (width + len(weights) - 1) * _CHANNELS
    rows = _with_margins(pixels_HWC, margin).reshape(height, -1)
    starts = (margin + whole + first) * _CHANNELS
    read = torch.from_numpy(sliding_window_view(rows, reach, axis=1)[np.arange(height), starts]).float()
    total = torch.zeros(height, width * _CHANNELS)
    for tap, weight in enumerate(weights):
        total.addcmul_(torch.from_numpy(weight)[:, None], read[:, tap * _CHANNELS : (tap + width) * _CHANNELS])
    output = total.clamp_(0, 255).byte().numpy()
    output ^= (output ^ np.tile(np.array(fill, dtype=np.uint8), width)) & _outside(offsets, width)
    return Image.fromarray(output.reshape(pixels_HWC.shape))


def _with_margins(pixels_HWC: np.ndarray, margin: int) -> np.ndarray:
    """(H, margin + W + margin, 3): next to the image its outermost pixels, further out zeros, which nothing reads."""
    height, width, _ = pixels_HWC.shape
    wider = np.zeros((height, width + 2 * margin, _CHANNELS), dtype=np.uint8)
    wider[:, margin : margin + width] = pixels_HWC
    for step in range(_EDGE):
        wider[:, margin - 1 - step] = pixels_HWC[:, 0]
        wider[:, margin + width + step] = pixels_HWC[:, -1]
    return wider


def _outside(offsets: np.ndarray, width: int) -> np.ndarray:
    """(H, width x channels) uint8, all bits set where a pixel's centre is read from beyond either end of its row.

    Bits, since NumPy combines them many times faster than it assigns by a mask.
    """
    first, last = (np.clip(np.ceil(edge - offsets), -1, width).astype(np.int16) for edge in (-0.5, width - 0.5))
    columns = np.repeat(np.arange(width, dtype=np.int16), _CHANNELS)
    outside = (columns < first[:, None]) | (columns >= last[:, None])
    return np.negative(outside.view(np.uint8))


def _taps(fraction: np.ndarray, resample: int) -> tuple[int, list[np.ndarray]]:
    """Offset of the first pixel that is read, and the (H,) weights of it and the next ones.

    `fraction` (H,) is how far from one pixel towards the next a row is read. Pillow's bicubic in geometric operations
    is the cubic convolution with a = -1, sharper than that of its resizing.
    """
    d = fraction
    if resample == Image.Resampling.BILINEAR:
        return 0, [1 - d, d]
    square, cube = d * d, d * d * d
    return -1, [2 * square - d - cube, 1 - 2 * square + cube, d + square - cube, cube - square]


def _shear(image: Image.Image, factor: float, resample: int, fill: Sequence[int]) -> Image.Image:
    return shift_rows(image, factor * (np.arange(image.height) + 0.5), resample, fill)


def _shift(image: Image.Image, share: float, resample: int, fill: Sequence[int]) -> Image.Image:
    return shift_rows(image, np.full(image.height, share * image.width), resample, fill)


def _along_columns(operation: Operation) -> Operation:
    """The same along the other axis."""

    def transposed(image: Image.Image, *args: Any) -> Image.Image:
        return operation(image.transpose(_TRANSPOSE), *args).transpose(_TRANSPOSE)

    return transposed


_BY_TIMMS_NAME: dict[str, Operation] = {
    "ShearX": _shear,
    "ShearY": _along_columns(_shear),
    "TranslateXRel": _shift,
    "TranslateYRel": _along_columns(_shift),
}


def use_fast_shear(operation: Any) -> None:
    """Let an `AugmentOp` of timm that shears or shifts do so by `shift_rows`; others stay as they are.

    It draws the same random numbers as before.
    """
    if operation.name in _BY_TIMMS_NAME:
        operation.aug_fn = _with_timms_arguments(_BY_TIMMS_NAME[operation.name])


def _with_timms_arguments(operation: Operation) -> Operation:
    def call(image: Image.Image, level: float, *, resample: Any, fillcolor: Sequence[int]) -> Image.Image:
        mode = random.choice(resample) if isinstance(resample, tuple | list) else resample
        return operation(image, level, mode, fillcolor)

    return call

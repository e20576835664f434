"""Shears and shifts of images along one axis: Pillow's own interpolation, a row at a time.

Where an affine map leaves one axis alone, two-dimensional interpolation comes down to four (bicubic) or two (bilinear)
weights that all pixels of a row share. A few passes over the rows then do what Pillow does pixel by pixel, with the
same answer up to rounding: no value differs by more than 1 of 255.
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
_EDGE = 2  # pixels beyond either end that the widest weights reach from inside


def slid(image: Image.Image, offsets: np.ndarray, resample: int, fill: Sequence[int]) -> Image.Image:
    """An RGB image, each row read `offsets` pixels further to the right, and `fill` where the image has ended.

    `offsets` has one number a row. `resample` is Pillow's BICUBIC or BILINEAR.
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
    for place, weight in enumerate(weights):
        total.addcmul_(torch.from_numpy(weight)[:, None], read[:, place * _CHANNELS : (place + width) * _CHANNELS])
    answer = total.clamp_(0, 255).byte().numpy()
    answer ^= (answer ^ np.tile(np.array(fill, dtype=np.uint8), width)) & _outside(offsets, width)
    return Image.fromarray(answer.reshape(pixels_HWC.shape))


def _with_margins(pixels_HWC: np.ndarray, margin: int) -> np.ndarray:
    """Room on both sides; only next to the image it has the outermost pixels' values, as nothing else is seen."""
    height, width, _ = pixels_HWC.shape
    wider = np.zeros((height, width + 2 * margin, _CHANNELS), dtype=np.uint8)
    wider[:, margin : margin + width] = pixels_HWC
    for step in range(_EDGE):
        wider[:, margin - 1 - step] = pixels_HWC[:, 0]
        wider[:, margin + width + step] = pixels_HWC[:, -1]
    return wider


def _outside(offsets: np.ndarray, width: int) -> np.ndarray:
    """(rows, width x channels) bytes, all bits set where a pixel's centre is read from beyond either end.

    Bits, since NumPy combines them many times quicker than it assigns by a mask.
    """
    first, last = (np.clip(np.ceil(edge - offsets), -1, width).astype(np.int16) for edge in (-0.5, width - 0.5))
    columns = np.repeat(np.arange(width, dtype=np.int16), _CHANNELS)
    outside = (columns < first[:, None]) | (columns >= last[:, None])
    return np.negative(outside.view(np.uint8))


def _taps(d: np.ndarray, resample: int) -> tuple[int, list[np.ndarray]]:
    """The first pixel that is read, and the weights of it and the next, for places `d` of the way to the next pixel.

    Pillow's bicubic in geometric operations is the cubic convolution with a = -1, sharper than that of its resizing.
    """
    if resample == Image.Resampling.BILINEAR:
        return 0, [1 - d, d]
    square, cube = d * d, d * d * d
    return -1, [2 * square - d - cube, 1 - 2 * square + cube, d + square - cube, cube - square]


def _shear(image: Image.Image, factor: float, resample: int, fill: Sequence[int]) -> Image.Image:
    return slid(image, factor * (np.arange(image.height) + 0.5), resample, fill)


def _shift(image: Image.Image, share: float, resample: int, fill: Sequence[int]) -> Image.Image:
    return slid(image, np.full(image.height, share * image.width), resample, fill)


def _across(operation: Operation) -> Operation:
    """The same along columns."""

    def turned(image: Image.Image, *args: Any) -> Image.Image:
        return operation(image.transpose(_TRANSPOSE), *args).transpose(_TRANSPOSE)

    return turned


_OF_TIMM: dict[str, Operation] = {
    "ShearX": _shear,
    "ShearY": _across(_shear),
    "TranslateXRel": _shift,
    "TranslateYRel": _across(_shift),
}


def quicken(operation: Any) -> None:
    """Let an `AugmentOp` of timm draw what it draws, and slide rows where it would call Pillow; others stay."""
    if operation.name in _OF_TIMM:
        operation.aug_fn = _as_timm_calls(_OF_TIMM[operation.name])


def _as_timm_calls(operation: Operation) -> Operation:
    def call(image: Image.Image, level: float, *, resample: Any, fillcolor: Sequence[int]) -> Image.Image:
        kind = random.choice(resample) if isinstance(resample, tuple | list) else resample
        return operation(image, level, kind, fillcolor)

    return call

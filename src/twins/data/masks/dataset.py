"""Images with masks: a class for each pixel, from files of numbers or of colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ...class_names import Colour
from ...preprocessing import Size
from ..annotation_errors import AnnotationError
from ..images import DECODER_ERRORS, ImageFiles, UnreadableImageError, size_of, width_x_height

IGNORED = 255  # in every mask that leaves this module: no class
MOST_CLASSES = IGNORED

_LOSSY = ("JPEG", "MPO")
_NUMBERS = ("1", "L", "P", "I", "I;16", "I;16L", "I;16B")
_COLOURS = ("RGB", "RGBA", "L", "LA", "1", "P", "PA")


@dataclass(frozen=True)
class MaskCoding:
    """How the values of mask files become labels; both kinds of values without a class may occur together."""

    reduce_zero_label: bool = False  # 0 and 255 -> IGNORED, 1.. -> 0..
    ignore_index: int = 255  # this value in a file -> IGNORED
    colours: tuple[Colour, ...] = ()  # one a class; where given, the colour of a pixel says its class


@dataclass(frozen=True)
class MaskedImages(ImageFiles):
    """Images with a mask file each. `classes` is empty where nobody has named them."""

    masks: Sequence[Path]
    classes: tuple[str, ...]
    coding: MaskCoding
    warnings: tuple[str, ...] = ()  # images without a mask, and masks without an image, a line each

    def read(self, index: int, channels: int) -> tuple[Image.Image, Tensor]:
        """The upright image of 1 or 3 channels, and its labels as from `read_mask`.

        Raises UnreadableImageError for a broken file, AnnotationError for a mask that does not fit the image or the
        classes.
        """
        image, mask = self.open(index, channels), self.read_mask(index)
        self.check_size(index, size_of(image), mask)
        return image, mask

    def read_mask(self, index: int) -> Tensor:
        """(H, W) uint8 of labels from 0 to classes - 1, and IGNORED. Raises as `read` does."""
        labels = read_labels(self.masks[index], self.coding)
        if self.classes:
            self._check_labels(index, labels)
        return torch.from_numpy(labels)

    def check_size(self, index: int, size: Size, mask: Tensor) -> None:
        """Raises AnnotationError unless the mask (H, W) is as large as the image, which has this size."""
        height, width = mask.shape
        if (height, width) == size:
            return
        if (width, height) == size:
            advice = "width and height are swapped: turn masks as the EXIF tags of their images turn these"
        else:
            advice = "save each mask in the size of its image"
        raise AnnotationError(
            f"{self.masks[index]}: {width} x {height} pixels, but {self.images[index]} has {width_x_height(size)}",
            advice,
        )

    def subset(self, indices: Sequence[int]) -> MaskedImages:
        return replace(self, images=[self.images[i] for i in indices], masks=[self.masks[i] for i in indices])

    def with_classes(self, names: Sequence[str]) -> MaskedImages:
        """The same images, their classes named."""
        return replace(self, classes=tuple(names))

    def _check_labels(self, index: int, labels: np.ndarray) -> None:
        largest = int(np.where(labels == IGNORED, 0, labels).max(initial=0))
        if largest >= len(self.classes):
            value = largest + self.coding.reduce_zero_label
            raise AnnotationError(
                f"{self.masks[index]}: value {value} is outside the {len(self.classes)} classes",
                "name all classes (--classes), or say which values are none (--ignore-index, --reduce-zero-label)",
            )


def read_labels(path: Path, coding: MaskCoding) -> np.ndarray:
    """(H, W) uint8 of labels from 0 to 254, and IGNORED, turned upright as images are.

    Raises UnreadableImageError for a broken file, AnnotationError for one whose values cannot be classes.
    """
    try:
        with Image.open(path) as image:
            ImageOps.exif_transpose(image, in_place=True)
    except DECODER_ERRORS as error:
        raise UnreadableImageError.of(path, error) from error
    if image.format in _LOSSY:
        raise AnnotationError(
            f"{path}: the mask is a JPEG file",
            "its compression invents values between the classes: save masks as PNG files",
        )
    values = _classes_by_colour(path, image, coding.colours) if coding.colours else _numbers(path, image)
    return _labels(path, values, coding)


def _numbers(path: Path, image: Image.Image) -> np.ndarray:
    if image.mode == "LA":  # grey with an opacity, which says nothing of classes
        image = image.getchannel("L")
    if image.mode not in _NUMBERS:
        raise AnnotationError(
            f"{path}: a colour mask ({image.mode}), but no colours of classes are known",
            "write a line `name,R,G,B` for each class into classes.txt, or save masks as grey PNG of class numbers",
        )
    values = np.asarray(image)
    return values.astype(np.uint8) if image.mode == "1" else values


def _classes_by_colour(path: Path, image: Image.Image, colours: Sequence[Colour]) -> np.ndarray:
    """(H, W) int16 indices into the colours, which tools also save as palettes and greys where there are few."""
    if image.mode not in _COLOURS:
        raise AnnotationError(
            f"{path}: no colours in a mask of mode {image.mode}", "save colour masks as 8-bit RGB PNG"
        )
    seen = _as_one_number(np.asarray(image.convert("RGB")))
    classes = np.full(seen.shape, -1, dtype=np.int16)
    for index, colour in enumerate(_as_one_number(np.array(colours))):
        classes[seen == colour] = index
    if (classes < 0).any():
        red, green, blue = int(seen[classes < 0][0]).to_bytes(3)
        raise AnnotationError(
            f"{path}: colour {red},{green},{blue} is none of the {len(colours)} classes'",
            "list all colours among the classes, or leave colours out there if masks hold numbers",
        )
    return classes


def _as_one_number(colours: np.ndarray) -> np.ndarray:
    """(..., 3) of 0 to 255 -> (...)"""
    return colours.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.int32)


def _labels(path: Path, values: np.ndarray, coding: MaskCoding) -> np.ndarray:
    ignored = values == coding.ignore_index
    if coding.reduce_zero_label:
        ignored |= (values == 0) | (values == IGNORED)
    outside = ((values < 0) | (values >= IGNORED)) & ~ignored
    if outside.any():
        raise AnnotationError(
            f"{path}: value {values[outside].max()} cannot be a class",
            f"classes are numbered from 0 to {MOST_CLASSES - 1}; --ignore-index takes the one value that is no class",
        )
    return np.where(ignored, IGNORED, values - coding.reduce_zero_label).astype(np.uint8)

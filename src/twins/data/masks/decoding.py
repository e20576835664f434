"""How a mask file becomes labels: by its numbers, by its colours, or by a threshold of its grey levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from ...class_names import Colour
from ..annotation_errors import AnnotationError
from ..images import USUAL_READING, ImageReading, opened_image, size_of
from .grey_levels import advice_on_values

IGNORED = 255  # in every mask that leaves this module: no class
MOST_CLASSES = IGNORED

_LOSSY = ("JPEG", "MPO")
_NUMBERS = ("1", "L", "P", "I", "I;16", "I;16L", "I;16B", "F")
_COLOURS = ("RGB", "RGBA", "L", "LA", "1", "P", "PA")
_BLACK = (0, 0, 0)
_ANTI_ALIASED = 8  # more unlisted colours in one mask are those of blended edges, not of forgotten classes


@dataclass(frozen=True)
class MaskCoding:
    """How the values of mask files become labels; both kinds of values without a class may occur together."""

    reduce_zero_label: bool = False  # 0 and 255 -> IGNORED, 1.. -> 0..
    ignore_index: int = 255  # this value in a file -> IGNORED
    colours: tuple[Colour, ...] = ()  # one a class; where given, the colour of a pixel says its class
    values: tuple[int, ...] = ()  # one a class; where given, the value of a pixel says its class
    threshold: float | None = None  # grey levels below -> 0, the others -> 1, whatever else is set
    nearest_colour: bool = False  # a colour that is no class's -> the nearest one that is
    ignored_colours: tuple[Colour, ...] = ()  # -> IGNORED


class DecodedMask(NamedTuple):
    """(H, W) uint8 of labels from 0 to 254, and IGNORED; and of how many pixels the nearest colour decided."""

    labels: np.ndarray
    approximated: int = 0


def read_labels(path: Path, coding: MaskCoding) -> np.ndarray:
    """(H, W) uint8 of labels from 0 to 254, and IGNORED, turned upright as images are.

    Raises UnreadableImageError for a broken file, AnnotationError for one whose values cannot be classes.
    """
    return decode_mask(path, coding).labels


def decode_mask(path: Path, coding: MaskCoding, reading: ImageReading = USUAL_READING) -> DecodedMask:
    """As `read_labels`, and how much of it is a guess; of no more pixels than `reading` allows images."""
    image, scale = _open(path, reading)
    if image.format in _LOSSY and coding.threshold is None and not coding.nearest_colour:
        raise AnnotationError(
            f"{path}: the mask is a JPEG file",
            "its compression invents values between the classes: save masks as PNG files",
        )
    if coding.threshold is not None:
        return DecodedMask((_grey_levels(path, image) >= coding.threshold).astype(np.uint8))
    if coding.colours:
        return _by_colour(path, image, coding)
    return DecodedMask(_by_number(path, _numbers(path, image) // scale, coding))


def _open(path: Path, reading: ImageReading) -> tuple[Image.Image, int]:
    """The upright image, and the factor by which Pillow spreads grey levels of 2 and 4 bits over a byte's."""
    with opened_image(path) as image:
        reading.check_size(size_of(image))
        packed = _packed_mode(image)
        pages = getattr(image, "n_frames", 1)
        ImageOps.exif_transpose(image, in_place=True)
    if pages > 1:
        raise AnnotationError(f"{path}: {pages} pages in one file", "save each mask as a file of one page")
    return image, {"L;2": 85, "L;4": 17}.get(packed[:3], 1)


def _packed_mode(image: Image.Image) -> str:
    """Pillow's name for how pixels are stored in the file, before they are decoded; "" where it does not say."""
    args = image.tile[0].args if image.tile else ""  # type: ignore[attr-defined]
    return args if isinstance(args, str) else str((args or ("",))[0])


def _grey_levels(path: Path, image: Image.Image) -> np.ndarray:
    """(H, W) brightness, of 0 to 255 unless the file has more bits."""
    if image.mode in _COLOURS:
        return np.asarray(image.convert("L"))
    levels = np.asarray(image)
    if levels.ndim != 2 or np.isnan(levels).any():
        raise AnnotationError(
            f"{path}: no grey levels in a mask of mode {image.mode}{' with NaN' * (image.mode == 'F')}",
            "--mask-threshold takes grey and RGB masks: save them as PNG",
        )
    return levels


def _numbers(path: Path, image: Image.Image) -> np.ndarray:
    """(H, W) of the integers that the file holds."""
    if image.mode in ("LA", "PA"):  # with an opacity, which says nothing of classes
        return np.asarray(image)[..., 0]
    if image.mode not in _NUMBERS:
        raise AnnotationError(
            f"{path}: a colour mask ({image.mode}), but no colours of classes are known",
            "write a line `name,R,G,B` for each class into classes.txt (Pascal VOC's are built in: --classes voc), or "
            "save masks as grey PNG of class numbers",
        )
    values = np.asarray(image)
    if image.mode == "F":
        return _whole_numbers(path, values)
    return values.astype(np.uint8) if image.mode == "1" else values


def _whole_numbers(path: Path, values: np.ndarray) -> np.ndarray:
    """Floats as the integers that they are."""
    odd = ~np.isfinite(values) | (values != np.round(values)) | (np.abs(values) > np.iinfo(np.int32).max // 2)
    if odd.any():
        raise AnnotationError(
            f"{path}: value {values[odd][0]:g} in a mask of floats cannot be a class",
            "save masks as PNG of whole class numbers, or pass --mask-threshold for two classes",
        )
    return values.astype(np.int32)


def _by_number(path: Path, values: np.ndarray, coding: MaskCoding) -> np.ndarray:
    return _by_listed_value(path, values, coding) if coding.values else _labels(path, values, coding)


def _by_listed_value(path: Path, values: np.ndarray, coding: MaskCoding) -> np.ndarray:
    labels = np.full(values.shape, IGNORED, dtype=np.uint8)
    unknown = values != coding.ignore_index
    for label, value in enumerate(coding.values):
        if value != coding.ignore_index:
            labels[values == value] = label
            unknown &= values != value
    if unknown.any():
        raise AnnotationError(
            f"{path}: value {values[unknown].max()} is none of the {len(coding.values)} classes'",
            "list all values with the names of the classes; --ignore-index takes the one value that is none",
        )
    return labels


def _by_colour(path: Path, image: Image.Image, coding: MaskCoding) -> DecodedMask:
    """Labels by colours, which tools also save as palettes and greys where there are few."""
    if image.mode not in _COLOURS:
        raise AnnotationError(
            f"{path}: no colours in a mask of mode {image.mode}", "save colour masks as 8-bit RGB PNG"
        )
    seen = _as_one_number(np.asarray(image.convert("RGB")))
    listed = _as_one_number(np.array(coding.colours + coding.ignored_colours))
    classes = np.full(seen.shape, -1, dtype=np.int16)
    for index, colour in enumerate(listed):
        classes[seen == colour] = index
    unknown = classes < 0
    if unknown.any():
        if _holds_numbers(image, coding):
            return DecodedMask(_labels(path, np.asarray(image), coding))
        if not coding.nearest_colour:
            raise _unlisted_colour(path, seen[unknown], len(coding.colours))
        classes[unknown] = _nearest(seen[unknown], listed)
    of_none = classes >= len(coding.colours)
    labels = _labels(path, np.where(of_none, 0, classes), coding)
    return DecodedMask(np.where(of_none, IGNORED, labels).astype(np.uint8), int(unknown.sum()))


def _holds_numbers(image: Image.Image, coding: MaskCoding) -> bool:
    """Whether these are numbers of the classes whose colours are listed, as Pascal VOC's tools write both.

    Only where class 0 is black: else an empty mask would be of one class by its colour, and of another by its number.
    """
    if image.mode not in ("L", "P") or coding.colours[0] != _BLACK:
        return False
    values = np.asarray(image)
    return bool(((values < len(coding.colours)) | (values == coding.ignore_index)).all())


def _unlisted_colour(path: Path, seen: np.ndarray, classes: int) -> AnnotationError:
    red, green, blue = int(seen[0]).to_bytes(3)
    if len(np.unique(seen)) > _ANTI_ALIASED:
        advice = (
            "many such colours are anti-aliased edges: pass --nearest-colour to take the nearest class's, or save "
            "masks without smoothing"
        )
    else:
        advice = "list all colours among the classes, or leave colours out there if masks hold numbers"
    return AnnotationError(f"{path}: colour {red},{green},{blue} is none of the {classes} classes'", advice)


def _nearest(seen: np.ndarray, listed: np.ndarray) -> np.ndarray:
    """(N,) colours, as one number each, to (N,) indices of the nearest of (K,) by Euclid's distance; ties go first."""
    distinct, position = np.unique(seen, return_inverse=True)
    best = np.full(distinct.shape, np.iinfo(np.int32).max)
    index = np.zeros(distinct.shape, dtype=np.int16)
    for i, colour in enumerate(listed):
        distance = sum(((distinct >> shift & 255) - (colour >> shift & 255)) ** 2 for shift in (0, 8, 16))
        index[distance < best] = i
        best = np.minimum(best, distance)
    return index[position]


def _as_one_number(colours: np.ndarray) -> np.ndarray:
    """(..., 3) of 0 to 255 -> (...)"""
    return colours.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.int32)


def _labels(path: Path, values: np.ndarray, coding: MaskCoding) -> np.ndarray:
    ignored = values == coding.ignore_index
    if coding.reduce_zero_label:
        ignored |= (values == 0) | (values == IGNORED)
    outside = ((values < 0) | (values >= IGNORED)) & ~ignored
    if outside.any():
        found: Sequence[int] = np.unique(values[~ignored]).tolist()
        raise AnnotationError(
            f"{path}: value {values[outside].max()} cannot be a class",
            advice_on_values(found, MOST_CLASSES)
            or f"classes are numbered from 0 to {MOST_CLASSES - 1}; --ignore-index takes the one value that is none",
        )
    return np.where(ignored, IGNORED, values - coding.reduce_zero_label).astype(np.uint8)

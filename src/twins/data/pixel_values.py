"""From the pixels that a file holds to the bytes that a network sees: more than 8 bits, and transparency.

One rule for each kind of image, so that training, evaluation, prediction and checks see the same: never its own range
for each image, under which a dark image and a bright one would look alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from ..recipes.base import BIT_DEPTH

BACKGROUND = 255  # white, on which transparent images are shown, as pages and viewers mostly do

_OF_PAGES = ("GIF", "PNG", "TIFF", "WEBP", "AVIF")  # not MPO, whose other images are previews
_BITS_PER_SAMPLE, _PHOTOMETRIC, _PLANAR = 258, 262, 284  # TIFF tags
_WHITE_IS_ZERO, _SEPARATE = 0, 2  # values of the last two


def as_bytes(image: Image.Image, channels: int, bit_depth: int = BIT_DEPTH) -> Image.Image:
    """A decoded image as 1 (grey) or 3 (RGB) channels of bytes.

    Grey integers of more than 8 bits: 0 to 2**bit_depth - 1 become 0 to 255, rounded; where the file states its own
    range (TIFF of 12 bits, PGM), that counts. Colours of 16 bits: their upper 8, as Pillow reads them. Floats: 0 to 1
    become 0 to 255, rounded. What is transparent is shown on white, what is half so is mixed with it.

    Raises ValueError for values outside these ranges.
    """
    _refuse_separate_colours(image)
    mode = "L" if channels == 1 else "RGB"
    transparent = image.has_transparency_data
    if image.mode == mode and not transparent:
        return image
    if is_deep(image):
        inverted = _tag(image, _PHOTOMETRIC) == _WHITE_IS_ZERO  # which Pillow heeds for 8 bits alone
        image = _grey_of_floats(image) if image.mode == "F" else _grey_of_integers(image, bit_depth)
        image = ImageOps.invert(image) if inverted else image
    elif transparent:
        image = _on_background(image)
    return image if image.mode == mode else image.convert(mode)


def unusual_pixels(image: Image.Image, bit_depth: int = BIT_DEPTH) -> Iterator[str]:
    """What a check says of an image whose pixels are not just 8-bit ones; the image may be open and not decoded."""
    if image.format in _OF_PAGES and getattr(image, "is_animated", False):
        yield "images of several frames or pages, of which the first is read"
    if image.mode == "F":
        yield "float grey images, of which 0 to 1 is read as black to white"
    elif is_deep(image):
        most = 2 ** _bits(image, bit_depth) - 1
        yield f"grey images of more than 8 bits ({image.mode}), of which 0 to {most} is read as black to white"
    elif any(";16" in str(tile.args) for tile in getattr(image, "tile", ())):
        yield "colour images of 16 bits, of which the upper 8 are read"
    if image.has_transparency_data:
        yield "images with transparency, shown on white"


def is_deep(image: Image.Image) -> bool:
    """Whether it is grey and has more than 8 bits; the image may be open and not decoded."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def _bits(image: Image.Image, bit_depth: int) -> int:
    if image.format == "PPM":  # Pillow has scaled it from the largest value that the file states
        return 16
    return 12 if _tag(image, _BITS_PER_SAMPLE) == (12,) else bit_depth


def _tag(image: Image.Image, number: int) -> Any:
    """What a TIFF file says of itself; None for other files."""
    return getattr(image, "tag_v2", {}).get(number)


def _refuse_separate_colours(image: Image.Image) -> None:
    """Raises ValueError for 16-bit colours in a plane each: Pillow takes each byte of these for a value."""
    if _tag(image, _PLANAR) == _SEPARATE and 16 in (_tag(image, _BITS_PER_SAMPLE) or ()):
        raise ValueError("16-bit colours in separate planes cannot be read; save it with 8 bits, or interleaved")


def _grey_of_integers(image: Image.Image, bit_depth: int) -> Image.Image:
    values, most = np.asarray(image), 2 ** _bits(image, bit_depth) - 1
    least, largest = int(values.min()), int(values.max())
    if least < 0 or largest > most:
        raise ValueError(
            f"values from {least} to {largest} in a grey image of more than 8 bits, of which 0 to {most} can be read; "
            "say by --bit-depth how many bits are used, or save it with 8 or 16 bits"
        )
    grey = ((values.astype(np.uint64) * 510 + most) // (2 * most)).astype(np.uint8)  # rounded, without floats
    key = image.info.get("transparency")  # one grey value that stands for nothing
    return Image.fromarray(grey if key is None else np.where(values == key, np.uint8(BACKGROUND), grey))


def _grey_of_floats(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    least, largest = float(values.min()), float(values.max())
    if not (least >= 0 and largest <= 1):  # nor for values that are no numbers
        raise ValueError(
            f"values from {least:g} to {largest:g} in a float image, of which 0 to 1 can be read; scale it by a range "
            "that is the same for all images, or save it with 8 or 16 bits"
        )
    return Image.fromarray((values * 255 + 0.5).astype(np.uint8))


def _on_background(image: Image.Image) -> Image.Image:
    colour = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, (BACKGROUND,) * 3 + (255,)), colour).convert("RGB")

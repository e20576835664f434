"""Text on plots and images: what of it can be drawn, fonts, sizes, and patches that keep it legible."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .fonts import font_of

Patch = tuple[float, float, float, float]  # left, top, right, bottom


def write_on_patch(
    draw: ImageDraw.ImageDraw, text: str, patch: Patch, colour: Sequence[int], font: ImageFont.FreeTypeFont
) -> None:
    """A text on a patch of this colour (red, green, blue from 0 to 255), in black or white as can be read there."""
    draw.rectangle(patch, fill=tuple(colour))
    bright = np.dot(colour, (0.299, 0.587, 0.114)) > 140  # as the eye weighs red, green and blue
    draw.text((patch[0] + font.size // 4, patch[1] + 1), text, "black" if bright else "white", font)


def line_height(font: ImageFont.FreeTypeFont) -> int:
    return sum(font.getmetrics()) + 2


def load_font(size: int, text: str = "") -> ImageFont.FreeTypeFont:
    """The font of the plots, or one that has more of `text`, `size` pixels high.

    Raises TwinsError where Matplotlib, which brings it, is missing.
    """
    font = font_of(text)
    return ImageFont.truetype(font.file, size, font.face)


def letter_size(image: Image.Image) -> int:
    return max(12, max(image.size) // 60)


_DRAWN = "\n\u200c\u200d"  # of what has no shape of its own: a new line, and what joins or parts letters


def printable(text: str) -> str:
    """A text as it can be drawn: letters with their accents in one, no control characters, no halves of characters.

    Bytes of a file's name that are not UTF-8 are half characters to Python, and stop whoever draws them.
    """
    return "".join(_printable(character) for character in unicodedata.normalize("NFC", text))


def _printable(character: str) -> str:
    match unicodedata.category(character):
        case "Cs":
            return "\ufffd"
        case "Cc" if character not in _DRAWN:
            return " "
        case "Cf" if character not in _DRAWN:
            return ""
    return character


def shortened(name: str, longest: int = 22) -> str:
    """A name in one line that can be drawn, and is not too long for that."""
    name = " ".join(printable(name).split())
    return name if len(name) <= longest else name[: longest - 8] + "\u2026" + name[-7:]

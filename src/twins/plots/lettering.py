"""Text on images: fonts, sizes, and patches that keep it legible."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..optional_dependencies import need

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


def load_font(size: int) -> ImageFont.FreeTypeFont:
    """The font of the plots, `size` pixels high. Raises TwinsError where Matplotlib, which brings it, is missing."""
    data = need("matplotlib", extra="train").get_data_path()
    return ImageFont.truetype(str(Path(data, "fonts", "ttf", "DejaVuSans.ttf")), size)


def letter_size(image: Image.Image) -> int:
    return max(12, max(image.size) // 60)


def shortened(name: str) -> str:
    """A name of a class that is not too long to be drawn."""
    return name if len(name) <= 22 else name[:14] + "\u2026" + name[-7:]

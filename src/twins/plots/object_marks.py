"""The objects of an image marked in it: masks, outlines and names, none of which hides what is below."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from .lettering import Patch, letter_size, line_height, load_font, write_on_patch
from .outlines import PLAIN, Style, draw_outline

NAMED_OBJECTS = 20  # in an image; more names would hide it
TINT = 0.25  # of a mask's colour in its pixels


def mark_objects(
    image: Image.Image,
    boxes: Tensor,
    texts: Sequence[str],
    colours: np.ndarray,
    masks: Tensor | None = None,
    styles: Sequence[Style] | None = None,
) -> Image.Image:
    """The image, in colour, with masks, boxes and texts over it, the first on top; it may be changed itself.

    `boxes` are (N, 4) x0, y0, x1, y1 and `masks` (N, H, W) at the image's size, `colours` (N, 3) bytes. Masks are
    tinted lightly within their edge. Texts are written at the first NAMED_OBJECTS objects, where there is room.
    """
    if masks is not None:
        image = _tinted(image, masks.bool().numpy(), colours)
    draw = ImageDraw.Draw(image)
    size = letter_size(image)
    styles = styles or [PLAIN] * len(boxes)
    for box, colour, style in list(zip(boxes.tolist(), colours.tolist(), styles, strict=True))[::-1]:
        draw_outline(draw, box, colour, style, unit=size // 6)
    _write_beside(image, boxes.tolist()[:NAMED_OBJECTS], texts[:NAMED_OBJECTS], colours[:NAMED_OBJECTS], size)
    return image


def _tinted(image: Image.Image, masks: np.ndarray, colours: np.ndarray) -> Image.Image:
    """(N, H, W) masks laid over the image: their edges in full colour, their pixels lightly."""
    pixels = np.array(image)
    for mask, colour in zip(masks[::-1], colours[::-1], strict=True):
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        if not len(rows):
            continue
        around = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        part = pixels[around]
        part[mask[around]] = ((1 - TINT) * part[mask[around]] + TINT * colour).round()
        part[_edge(mask[around])] = colour
    return Image.fromarray(pixels)


def _edge(mask: np.ndarray) -> np.ndarray:
    """(H, W) bool: those pixels of a mask of which a neighbour above, below, left or right is none of its own."""
    padded = np.pad(mask, 1)
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inside


def _write_beside(
    image: Image.Image, boxes: list[list[float]], texts: Sequence[str], colours: np.ndarray, size: int
) -> None:
    """A text on a patch of its colour at each box, where it hides no earlier text; without room for it, none."""
    draw, height = ImageDraw.Draw(image), line_height(load_font(size))
    taken: list[Patch] = []
    for box, text, colour in zip(boxes, texts, colours.tolist(), strict=True):
        font = load_font(size, text)
        patches = _patches(box, draw.textlength(text, font) + size // 2, height, image.size)
        patch = next((patch for patch in patches if not any(_overlap(patch, other) for other in taken)), None)
        if patch is not None:
            taken.append(patch)
            write_on_patch(draw, text, patch, colour, font)


def _patches(box: list[float], width: float, height: float, size: tuple[int, int]) -> Iterator[Patch]:
    """Where a text may stand at a box, the best first: above it, at the top within, below; left, then right."""
    x0, y0, x1, y1 = box
    for left in (x0, x1 - width):
        for top in (y0 - height, y0, y1):
            x, y = max(min(left, size[0] - width), 0), max(min(top, size[1] - height), 0)
            yield x, y, x + width, y + height


def _overlap(one: Patch, other: Patch) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]

"""Masks of classes over images: beside each other in a plot, or over one image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from ..data.masks.decoding import IGNORED
from ..data.palette import class_colours
from ..optional_dependencies import need
from .figure import INK, hide_axes, new_figure, save_figure
from .lettering import letter_size, line_height, load_font, shortened, write_on_patch

NAMED = 23  # colours in a legend
STRENGTH = 0.55  # of a mask's colours, over the image's own


class Masked(NamedTuple):
    """An image with one or more masks over it, each under a title."""

    image: Tensor  # (C, H, W) in [0, 1]
    masks: dict[str, Tensor]  # (H, W) of labels; 255: none


def draw_masks(rows: Sequence[Masked], classes: Sequence[str], path: Path, headline: str) -> None:
    """A plot of each image, and beside it each of its masks laid over it; the commonest classes are in the legend."""
    colours = class_colours(len(classes))
    handles = _legend([mask for row in rows for mask in row.masks.values()], classes, colours)
    across = 1 + len(rows[0].masks)
    columns = 1 if len(rows) < 4 or across > 3 else 2  # rows of the table that stand beside each other
    lines = -(-len(rows) // columns)
    width = 1.9 * across * columns
    names = max(int(width / (0.5 + 0.07 * max(len(handle.get_label()) for handle in handles))), 1)  # in a line
    tallest = min(max(row.image.shape[1] / row.image.shape[2] for row in rows), 1.5)
    figure = new_figure(width, (1.9 * tallest + 0.25) * lines + 0.4 + 0.18 * -(-len(handles) // names))
    cells = figure.subplots(lines, across * columns, squeeze=False).reshape(-1, across)
    for cell in cells.flatten():
        hide_axes(cell)
    for row, line in zip(rows, cells, strict=False):
        image = row.image.permute(1, 2, 0).expand(-1, -1, 3).numpy()
        line[0].imshow(image)
        for cell, (title, mask) in zip(line[1:], row.masks.items(), strict=True):
            cell.imshow(_overlay(image, mask.numpy(), colours))
            cell.set_title(title, fontsize=8, color=INK)
    figure.legend(handles=handles, loc="outside lower center", ncols=names, fontsize=8, frameon=False)
    figure.suptitle(headline, fontsize=10, color=INK)
    save_figure(figure, path)


def _legend(masks: Sequence[Tensor], classes: Sequence[str], colours: np.ndarray) -> list[Any]:
    """A patch for each class that occurs, for how many more there are, and for pixels of no class."""
    patch = need("matplotlib.patches", extra="train").Patch
    pixels = sum(mask.flatten().long().bincount(minlength=IGNORED + 1) for mask in masks)
    assert isinstance(pixels, Tensor)
    occurring = [label for label in pixels.argsort(descending=True).tolist() if pixels[label] and label != IGNORED]
    named = sorted(occurring[:NAMED])
    handles = [patch(color=colours[label] / 255, label=shortened(classes[label])) for label in named]
    if len(occurring) > NAMED:
        handles.append(patch(color="none", label=f"and {len(occurring) - NAMED} more"))
    if pixels[IGNORED]:
        handles.append(patch(facecolor="white", edgecolor="#aaaaaa", label="no class"))
    return handles


def _overlay(image: Any, mask: Any, colours: Any) -> Any:
    """(H, W, 3) in [0, 1]: the image faded, with the colours of its labels over it; what has none turns white."""
    table = np.full((IGNORED + 1, 3), 255, dtype=np.uint8)
    table[: len(colours)] = colours
    return (1 - STRENGTH) * image + STRENGTH * table[mask] / 255


def draw_mask(image: Image.Image, mask: Tensor, classes: Sequence[str]) -> Image.Image:
    """A copy of the image, in colour, tinted by an (H, W) mask of labels; the commonest classes are named in a corner.

    The names fill up to a fifth of the height: a small image has none.
    """
    colours = class_colours(len(classes))
    tinted = Image.blend(image.convert("RGB"), Image.fromarray(colours[mask.numpy()]), STRENGTH)
    pixels = mask.flatten().bincount()
    commonest = pixels.argsort(descending=True)[: int(pixels.count_nonzero())].tolist()
    draw, size = ImageDraw.Draw(tinted), letter_size(tinted)
    height = line_height(load_font(size))
    for line, label in enumerate(commonest[: tinted.height // 5 // height]):
        name = shortened(classes[label])
        font = load_font(size, name)
        patch = (0, line * height, draw.textlength(name, font) + font.size // 2, (line + 1) * height)
        write_on_patch(draw, name, patch, colours[label].tolist(), font)
    return tinted

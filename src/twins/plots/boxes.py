"""Boxes, names and masks of objects over images: many images in one plot, or one image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ..data.boxes.object_masks import ObjectMasks
from ..data.palette import object_colours
from ..preprocessing import Size
from .figure import INK
from .lettering import Patch, letter_size, line_height, load_font, shortened, write_on_patch

PANEL, GAP = 480, 10  # pixels: the longest side of an image in a table of them, and what lies between two
LEGIBLE = 160  # pixels: of images with shorter sides names would hide too much


class Boxed(NamedTuple):
    """An image with N objects in it, under a title."""

    image: Tensor  # (C, H, W) in [0, 1]
    boxes: Tensor  # (N, 4) x0, y0, x1, y1 in pixels
    labels: Tensor  # (N,)
    scores: Tensor | None  # (N,), the best first; None for the truth
    masks: Tensor | ObjectMasks | None  # (N, H, W)
    title: str


def draw_boxes(rows: Sequence[Sequence[Boxed]], classes: Sequence[str], path: Path, headline: str) -> None:
    """A plot of rows of as many images each, such as truth and prediction, with the objects marked in them."""
    beside = max(4 // len(rows[0]), 1)  # rows that share a line
    lines = [list(chain(*rows[first : first + beside])) for first in range(0, len(rows), beside)]
    panels = [[_panel(boxed, classes) for boxed in line] for line in lines]
    font, title_height = load_font(13), 20
    across = max(panel.width for panel in chain(*panels)) + GAP
    heights = [max(panel.height for panel in line) + title_height + GAP for line in panels]
    sheet = Image.new("RGB", (across * len(lines[0]) + GAP, sum(heights) + title_height + 2 * GAP), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((sheet.width / 2, GAP), headline, INK, font, anchor="ma")
    top = title_height + 2 * GAP
    for line, images, height in zip(lines, panels, heights, strict=True):
        for column, (boxed, image) in enumerate(zip(line, images, strict=True)):
            left = GAP + across * column
            draw.text((left, top), shortened(boxed.title), INK, font)
            sheet.paste(image, (left, top + title_height))
        top += height
    sheet.save(path)


def draw_detections(
    image: Image.Image, detections: dict[str, Tensor], classes: Sequence[str], min_score: float
) -> Image.Image:
    """A copy of the image, in colour, with the detections of at least that score marked.

    `detections` are as `Detector` returns them: `boxes` (N, 4) in pixels, `labels`, `scores` (N,), perhaps `masks`
    (N, 1, H, W).

    An image so small that names would cover it is enlarged.
    """
    shown = detections["scores"] >= min_score
    boxes, labels, scores = (detections[name][shown].cpu() for name in ("boxes", "labels", "scores"))
    masks = detections["masks"][shown, 0].cpu() if "masks" in detections else None
    image = image.convert("RGB")
    if max(image.size) < LEGIBLE:
        scale = PANEL // max(image.size)
        image = image.resize((scale * image.width, scale * image.height), Image.Resampling.NEAREST)
        boxes = boxes * scale
        masks = None if masks is None else masks.repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    return _marked(image, boxes, labels, scores, masks, classes)


def _panel(boxed: Boxed, classes: Sequence[str]) -> Image.Image:
    """The image marked at the size of a panel: small ones enlarged by a whole factor, large ones shrunk."""
    pixels = (255 * boxed.image).round().byte().expand(3, -1, -1).permute(1, 2, 0)
    image = Image.fromarray(pixels.numpy())
    ratio = PANEL / max(image.size)
    scale = int(ratio) if ratio > 1 else ratio
    width, height = (max(round(scale * side), 1) for side in image.size)
    image = image.resize((width, height), Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)
    masks = None if boxed.masks is None else _masks_at(boxed.masks, (height, width))
    return _marked(image, boxed.boxes * scale, boxed.labels, boxed.scores, masks, classes)


def _masks_at(masks: Tensor | ObjectMasks, size: Size) -> Tensor:
    """(N, H, W) masks -> (N, *size) of bytes, the nearest pixels."""
    rows, columns = (np.arange(new) * old // new for new, old in zip(size, masks.shape[1:], strict=True))
    if isinstance(masks, ObjectMasks):
        return torch.from_numpy(masks.seen(rows, columns, range(len(masks))))
    return masks.byte()[:, rows][:, :, columns]


def _marked(
    image: Image.Image,
    boxes: Tensor,
    labels: Tensor,
    scores: Tensor | None,
    masks: Tensor | None,
    classes: Sequence[str],
) -> Image.Image:
    """The image with masks, boxes and names over it, the first on top; names for which there is no room are left out.

    The arguments are those of `Boxed`, at the image's size.
    """
    colours = object_colours(len(classes))[labels.numpy()]
    if masks is not None:
        image = _tinted(image, masks.bool().numpy(), colours)
    draw = ImageDraw.Draw(image)
    size = letter_size(image)
    for (x0, y0, x1, y1), colour in zip(boxes.tolist()[::-1], colours[::-1].tolist(), strict=True):
        draw.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=tuple(colour), width=size // 6)
    texts = [shortened(classes[label]) for label in labels]
    if scores is not None:
        texts = [f"{text} {score:.2f}" for text, score in zip(texts, scores.tolist(), strict=True)]
    _write_beside(image, boxes.tolist(), texts, colours, size)
    return image


def _tinted(image: Image.Image, masks: np.ndarray, colours: np.ndarray) -> Image.Image:
    """(N, H, W) masks laid over the image, half of which shines through."""
    pixels = np.array(image)
    for mask, colour in zip(masks[::-1], colours[::-1], strict=True):
        pixels[mask] = pixels[mask] // 2 + colour // 2
    return Image.fromarray(pixels)


def _write_beside(
    image: Image.Image, boxes: list[list[float]], texts: list[str], colours: np.ndarray, size: int
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

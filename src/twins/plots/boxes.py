"""Pictures with what is known of them drawn over: boxes and names of objects, tints of masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..data.palette import class_colours, object_colours
from ..optional_dependencies import need

PANEL, GAP = 480, 10  # pixels: the longest side of a picture in a table of them, and what lies between two
LEGIBLE = 160  # pixels: of pictures with shorter sides names would hide too much
INK = "#333333"
STRENGTH = 0.55  # of a mask's colours, over the picture's own

Patch = tuple[float, float, float, float]  # left, top, right, bottom


class Boxed(NamedTuple):
    """A picture with N objects in it, under a title."""

    picture: Tensor  # (C, H, W) in [0, 1]
    boxes: Tensor  # (N, 4) x0, y0, x1, y1 in pixels
    labels: Tensor  # (N,)
    scores: Tensor | None  # (N,), the best first; None for the truth
    masks: Tensor | None  # (N, H, W)
    title: str


def draw_boxes(rows: Sequence[Sequence[Boxed]], classes: Sequence[str], path: Path, headline: str) -> None:
    """Rows of as many pictures each, such as truth and prediction, with the objects marked in them."""
    beside = max(4 // len(rows[0]), 1)  # rows that share a line
    lines = [list(chain(*rows[first : first + beside])) for first in range(0, len(rows), beside)]
    panels = [[_panel(boxed, classes) for boxed in line] for line in lines]
    font, title_height = _font(13), 20
    across = max(panel.width for panel in chain(*panels)) + GAP
    heights = [max(panel.height for panel in line) + title_height + GAP for line in panels]
    sheet = Image.new("RGB", (across * len(lines[0]) + GAP, sum(heights) + title_height + 2 * GAP), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((sheet.width / 2, GAP), headline, INK, font, anchor="ma")
    top = title_height + 2 * GAP
    for line, images, height in zip(lines, panels, heights, strict=True):
        for place, (boxed, image) in enumerate(zip(line, images, strict=True)):
            left = GAP + across * place
            draw.text((left, top), shortened(boxed.title), INK, font)
            sheet.paste(image, (left, top + title_height))
        top += height
    sheet.save(path)


def draw_detections(
    picture: Image.Image, detections: dict[str, Tensor], classes: Sequence[str], min_score: float
) -> Image.Image:
    """A copy of the picture, in colour, with what was found in it marked: all of at least that score.

    A picture so small that names would cover it is enlarged.
    """
    shown = detections["scores"] >= min_score
    boxes, labels, scores = (detections[name][shown].cpu() for name in ("boxes", "labels", "scores"))
    masks = detections["masks"][shown, 0].cpu() if "masks" in detections else None
    picture = picture.convert("RGB")
    if max(picture.size) < LEGIBLE:
        scale = PANEL // max(picture.size)
        picture = picture.resize((scale * picture.width, scale * picture.height), Image.Resampling.NEAREST)
        boxes = boxes * scale
        masks = None if masks is None else masks.repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    return _marked(picture, boxes, labels, scores, masks, classes)


def draw_mask(picture: Image.Image, mask: Tensor, classes: Sequence[str]) -> Image.Image:
    """A copy of the picture, tinted by an (H, W) mask of labels; the commonest classes are named in its corner.

    The names fill up to a fifth of the height: a small picture has none.
    """
    colours = class_colours(len(classes))
    tinted = Image.blend(picture.convert("RGB"), Image.fromarray(colours[mask.numpy()]), STRENGTH)
    draw, font = ImageDraw.Draw(tinted), _font(_letter_size(tinted))
    height = _line_height(font)
    pixels = mask.flatten().bincount()
    commonest = pixels.argsort(descending=True)[: int(pixels.count_nonzero())].tolist()
    for line, label in enumerate(commonest[: tinted.height // 5 // height]):
        width = draw.textlength(classes[label], font) + font.size // 2
        patch = (0, line * height, width, (line + 1) * height)
        _write(draw, classes[label], patch, colours[label].tolist(), font)
    return tinted


def _panel(boxed: Boxed, classes: Sequence[str]) -> Image.Image:
    """The picture marked at the size of a panel: small ones enlarged by a whole factor, large ones shrunk."""
    pixels = (255 * boxed.picture).round().byte().expand(3, -1, -1).permute(1, 2, 0)
    picture = Image.fromarray(pixels.numpy())
    ratio = PANEL / max(picture.size)
    scale = int(ratio) if ratio > 1 else ratio
    width, height = (max(round(scale * side), 1) for side in picture.size)
    picture = picture.resize((width, height), Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)
    masks = boxed.masks
    if masks is not None and len(masks):
        masks = F.interpolate(masks[None].byte(), (height, width))[0]
    return _marked(picture, boxed.boxes * scale, boxed.labels, boxed.scores, masks, classes)


def _marked(
    picture: Image.Image,
    boxes: Tensor,
    labels: Tensor,
    scores: Tensor | None,
    masks: Tensor | None,
    classes: Sequence[str],
) -> Image.Image:
    """The picture with masks, boxes and names over it, the first on top; names for which there is no room are left out.

    The arguments are those of `Boxed`, at the picture's size.
    """
    colours = object_colours(len(classes))[labels.numpy()]
    if masks is not None:
        picture = _tinted(picture, masks.bool().numpy(), colours)
    draw = ImageDraw.Draw(picture)
    size = _letter_size(picture)
    for (x0, y0, x1, y1), colour in zip(boxes.tolist()[::-1], colours[::-1].tolist(), strict=True):
        draw.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=tuple(colour), width=size // 6)
    texts = [shortened(classes[label]) for label in labels]
    if scores is not None:
        texts = [f"{text} {score:.2f}" for text, score in zip(texts, scores.tolist(), strict=True)]
    _write_beside(picture, boxes.tolist(), texts, colours, size)
    return picture


def _tinted(picture: Image.Image, masks: np.ndarray, colours: np.ndarray) -> Image.Image:
    """(N, H, W) masks laid over the picture, half of which shines through."""
    pixels = np.array(picture)
    for mask, colour in zip(masks[::-1], colours[::-1], strict=True):
        pixels[mask] = pixels[mask] // 2 + colour // 2
    return Image.fromarray(pixels)


def _write_beside(
    picture: Image.Image, boxes: list[list[float]], texts: list[str], colours: np.ndarray, size: int
) -> None:
    """A text on a patch of its colour at each box, where it hides no earlier text; without room for it, none."""
    draw, font = ImageDraw.Draw(picture), _font(size)
    height = _line_height(font)
    taken: list[Patch] = []
    for box, text, colour in zip(boxes, texts, colours.tolist(), strict=True):
        places = _places(box, draw.textlength(text, font) + size // 2, height, picture.size)
        patch = next((place for place in places if not any(_overlap(place, other) for other in taken)), None)
        if patch is not None:
            taken.append(patch)
            _write(draw, text, patch, colour, font)


def _places(box: list[float], width: float, height: float, size: tuple[int, int]) -> Iterator[Patch]:
    """Where a text may stand at a box, the best first: above it, at the top within, below; left, then right."""
    x0, y0, x1, y1 = box
    for left in (x0, x1 - width):
        for top in (y0 - height, y0, y1):
            x, y = max(min(left, size[0] - width), 0), max(min(top, size[1] - height), 0)
            yield x, y, x + width, y + height


def _overlap(one: Patch, other: Patch) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _write(
    draw: ImageDraw.ImageDraw, text: str, patch: Patch, colour: Sequence[int], font: ImageFont.FreeTypeFont
) -> None:
    """A text on a patch of this colour, black or white as can be read there."""
    draw.rectangle(patch, fill=tuple(colour))
    bright = np.dot(colour, (0.299, 0.587, 0.114)) > 140  # as the eye weighs red, green and blue
    draw.text((patch[0] + font.size // 4, patch[1] + 1), text, "black" if bright else "white", font)


def _line_height(font: ImageFont.FreeTypeFont) -> int:
    return sum(font.getmetrics()) + 2


def _font(size: int) -> ImageFont.FreeTypeFont:
    """The one that the figures are lettered in, `size` pixels high."""
    data = need("matplotlib", extra="train").get_data_path()
    return ImageFont.truetype(str(Path(data, "fonts", "ttf", "DejaVuSans.ttf")), size)


def _letter_size(picture: Image.Image) -> int:
    return max(12, max(picture.size) // 60)


def shortened(name: str) -> str:
    """A name of a class that is not too long to be drawn."""
    return name if len(name) <= 22 else name[:14] + "\u2026" + name[-7:]

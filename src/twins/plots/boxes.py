"""Boxes, names and masks of objects over images: many images in one plot, or one image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
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
from .gallery import GAP, Position, arrange
from .lettering import line_height, load_font, shortened
from .object_marks import mark_objects
from .outlines import Style, draw_outline

LEGIBLE = 160  # pixels: of images with shorter sides names would hide too much
ENLARGED = 480  # pixels, the longer side of such an image
LEAST_WIDTH = 480  # pixels of a plot, which a headline takes
CLASSES_NAMED = 23  # in a legend
TITLE_SIZE = 13


class Boxed(NamedTuple):
    """An image with N objects in it, under a title."""

    image: Image.Image
    boxes: Tensor  # (N, 4) x0, y0, x1, y1 in pixels
    labels: Tensor  # (N,)
    scores: Tensor | None = None  # (N,), the best first; None for the truth
    masks: Tensor | ObjectMasks | None = None  # (N, H, W)
    title: str = ""
    texts: Sequence[str] | None = None  # (N,), what to write at each; by default its class and score
    styles: Sequence[Style] | None = None  # (N,), of the outlines


def draw_boxes(
    rows: Sequence[Sequence[Boxed]],
    classes: Sequence[str],
    path: Path,
    headline: str,
    styles: Mapping[str, Style] | None = None,
) -> None:
    """A plot of images with their objects; those of a row, such as truth and prediction, stand beside each other.

    A legend tells the commonest classes and the outlines' `styles` by name.
    """
    headroom = line_height(load_font(TITLE_SIZE)) + 2
    positions = arrange([[(b.image.height, b.image.width) for b in row] for row in rows], headroom)
    below = max((p.top + p.height for p in chain(*positions)), default=0)
    width = max([LEAST_WIDTH, *(p.left + p.width for p in chain(*positions))])
    keys = _legend([b.labels for b in chain(*rows)], classes, styles or {}, width)
    sheet = Image.new("RGB", (width + 2 * GAP, headroom + below + 3 * GAP + headroom * len(keys)), "white")
    draw = ImageDraw.Draw(sheet)
    headline = shortened(headline, width // 7)
    draw.text((sheet.width / 2, GAP), headline, INK, load_font(TITLE_SIZE, headline), anchor="ma")
    for boxed, position in zip(chain(*rows), chain(*positions), strict=True):
        left, top = GAP + position.left, GAP + headroom + position.top
        title = shortened(boxed.title, max(position.width // 7, 10))
        draw.text((left, top - headroom), title, INK, load_font(TITLE_SIZE, title))
        sheet.paste(_marked_at(boxed, position, classes), (left, top))
    for line, entries in enumerate(keys):
        for left, key in entries:
            key.draw(draw, GAP + left, 2 * GAP + headroom + below + headroom * line)
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
    return draw_objects(Boxed(image, boxes, labels, scores, masks), classes)


def draw_objects(boxed: Boxed, classes: Sequence[str]) -> Image.Image:
    """A copy of the image, in colour, with its objects marked; enlarged if it is so small that names would cover it."""
    image = boxed.image
    scale = ENLARGED / max(image.size) if max(image.size) < LEGIBLE else 1
    width, height = (max(round(scale * side), 1) for side in image.size)
    return _marked_at(boxed, Position(0, 0, width, height), classes)


def _marked_at(boxed: Boxed, position: Position, classes: Sequence[str]) -> Image.Image:
    """The image at the size of its position, with its objects."""
    image, size = boxed.image.convert("RGB"), (position.width, position.height)
    masks = None if boxed.masks is None else _masks_at(boxed.masks, size[::-1])
    scale = torch.tensor([new / old for new, old in zip(size, image.size, strict=True)] * 2)
    if image.size != size:
        shrunk = position.width < image.width
        image = image.resize(size, Image.Resampling.LANCZOS if shrunk else Image.Resampling.BICUBIC)
    texts = boxed.texts
    if texts is None:
        texts = [shortened(classes[label]) for label in boxed.labels]
        if boxed.scores is not None:
            texts = [f"{text} {score:.2f}" for text, score in zip(texts, boxed.scores.tolist(), strict=True)]
    colours = object_colours(len(classes))[boxed.labels.numpy()]
    return mark_objects(image, boxed.boxes * scale, texts, colours, masks, boxed.styles)


def _masks_at(masks: Tensor | ObjectMasks, size: Size) -> Tensor:
    """(N, H, W) masks -> (N, *size) of bytes, the nearest pixels."""
    rows, columns = (np.arange(new) * old // new for new, old in zip(size, masks.shape[1:], strict=True))
    if isinstance(masks, ObjectMasks):
        return torch.from_numpy(masks.seen(rows, columns, range(len(masks))))
    return masks.byte()[:, rows][:, :, columns]


class _Key(NamedTuple):
    """An entry of a legend."""

    text: str
    colour: tuple[int, ...] | None  # of a class
    style: Style | None  # of an outline

    def width(self) -> int:
        return 34 + round(load_font(TITLE_SIZE, self.text).getlength(self.text)) + 18

    def draw(self, draw: ImageDraw.ImageDraw, left: int, top: int) -> None:
        if self.colour is not None:
            draw.rectangle((left + 8, top + 3, left + 24, top + 14), fill=self.colour)
        if self.style is not None:
            draw_outline(draw, (left, top, left + 28, top + 17), (0x33, 0x33, 0x33), self.style, unit=1)
        draw.text((left + 34, top), self.text, INK, load_font(TITLE_SIZE, self.text))


def _legend(
    labels: Sequence[Tensor], classes: Sequence[str], styles: Mapping[str, Style], width: int
) -> list[list[tuple[int, _Key]]]:
    """Lines of entries, each with where it begins: the outlines' styles, the classes that occur, how many more do."""
    counts = Counter(chain(*(of_image.tolist() for of_image in labels)))
    colours = object_colours(len(classes)).tolist()
    named = sorted(label for label, _ in counts.most_common(CLASSES_NAMED))
    keys = [_Key(name, None, style) for name, style in styles.items()]
    keys += [_Key(shortened(classes[label]), tuple(colours[label]), None) for label in named]
    if len(counts) > len(named):
        keys.append(_Key(f"and {len(counts) - len(named)} more", None, None))
    lines: list[list[tuple[int, _Key]]] = []
    left = width
    for key in keys:
        if left + key.width() > width:
            lines.append([])
            left = 0
        lines[-1].append((left, key))
        left += key.width()
    return lines

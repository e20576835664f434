"""Rectangles over images, whose style says of what kind they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from PIL import ImageDraw


class Style(NamedTuple):
    """How an outline is drawn, in units of the width of the plainest."""

    width: float = 1
    dash: tuple[float, float] | None = None  # lengths of line and gap; None for a whole line
    double: bool = False  # with a second line inside


PLAIN = Style()
MISTAKES = {  # of a detector: the style of each kind
    "missed": Style(width=1.5, dash=(5, 4)),
    "false": Style(width=1.5),
    "confused": Style(width=1.5, double=True),
}


def draw_outline(
    draw: ImageDraw.ImageDraw,
    box: Sequence[float],
    colour: Sequence[int],
    style: Style,
    unit: int,
) -> None:
    """Outline x0, y0, x1, y1, where x1 and y1 lie outside; `unit` is the width of the plainest style in pixels."""
    x0, y0, x1, y1 = box
    corners = (x0, y0, max(x0, x1 - 1), max(y0, y1 - 1))
    width = max(round(style.width * unit), 1)
    if style.dash is None:
        draw.rectangle(corners, outline=tuple(colour), width=width)
    else:
        line, gap = (max(length * unit, 1) for length in style.dash)
        for part in _dashes(corners, line, gap, width):
            draw.rectangle(part, fill=tuple(colour))
    inset = 2 * width
    if style.double and x1 - x0 > 3 * inset and y1 - y0 > 3 * inset:
        inner = (corners[0] + inset, corners[1] + inset, corners[2] - inset, corners[3] - inset)
        draw.rectangle(inner, outline=tuple(colour), width=width)


def _dashes(corners: Sequence[float], line: float, gap: float, width: int) -> Iterator[tuple[float, ...]]:
    """Filled rectangles along the four sides; each side begins and ends with a dash."""
    x0, y0, x1, y1 = corners
    for start, end in _pieces(x0, x1, line, gap):
        yield start, y0, end, min(y0 + width - 1, y1)
        yield start, max(y1 - width + 1, y0), end, y1
    for start, end in _pieces(y0, y1, line, gap):
        yield x0, start, min(x0 + width - 1, x1), end
        yield max(x1 - width + 1, x0), start, x1, end


def _pieces(first: float, last: float, line: float, gap: float) -> Iterator[tuple[float, float]]:
    """Where dashes from `first` to `last` begin and end, with gaps stretched so that the last one ends there."""
    count = max(round((last - first + gap) / (line + gap)), 1)
    step = (last - first - line) / (count - 1) if count > 1 else 0.0
    for i in range(count):
        yield first + i * step, min(first + i * step + line, last)

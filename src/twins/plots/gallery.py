"""Images of all shapes in lines of one width, each in its own proportions: how large, and where."""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import NamedTuple

from ..preprocessing import Size

GAP = 10  # pixels between two images
WIDTH = 1600  # pixels of a full line
HEIGHT = 360  # pixels of a line's images, about
TALLEST = 480  # pixels of the images of a single line, at most


class Position(NamedTuple):
    """Of an image, in pixels."""

    left: int
    top: int
    width: int
    height: int


def arrange(groups: Sequence[Sequence[Size]], headroom: int) -> list[list[Position]]:
    """The positions of groups of images that are (height, width); those of a group stay in one line.

    The images of a line are as high as one another, and lines as wide as one another, so that there are no gaps but
    GAP; small images are enlarged and large ones shrunk by whatever factor that takes. A single line may be shorter.
    Above each line `headroom` pixels are left for titles.
    """
    positions, top = [], 0
    lines = _lines(groups)
    tallest = TALLEST if len(lines) == 1 else 2 * HEIGHT  # which lines of very narrow images alone reach
    for line in lines:
        gaps = GAP * (sum(map(len, line)) - 1)
        height = max(round(min((WIDTH - gaps) / sum(map(_width, line)), tallest)), 1)
        left = 0
        for group in line:
            placed = []
            for tall, wide in group:
                placed.append(Position(left, top + headroom, max(round(height * wide / tall), 1), height))
                left += placed[-1].width + GAP
            positions.append(placed)
        top += headroom + height + GAP
    return positions


def _lines(groups: Sequence[Sequence[Size]]) -> list[list[Sequence[Size]]]:
    """Groups in as many lines as bring the images of each nearest to HEIGHT."""
    choices = [_in_lines(groups, count) for count in range(1, len(groups) + 1)]
    return min(choices, key=_unevenness, default=[])


def _in_lines(groups: Sequence[Sequence[Size]], count: int) -> list[list[Sequence[Size]]]:
    """Groups in so many lines, of widths as even as their order allows."""
    total = sum(map(_width, groups))
    lines: dict[int, list[Sequence[Size]]] = {}
    before = 0.0
    for group in groups:
        middle = before + _width(group) / 2
        lines.setdefault(int(count * middle / total), []).append(group)
        before += _width(group)
    return list(lines.values())


def _unevenness(lines: list[list[Sequence[Size]]]) -> float:
    """By what factor the images of a line are higher or lower than HEIGHT at most, as a logarithm."""
    return max(abs(log(WIDTH / sum(map(_width, line)) / HEIGHT)) for line in lines)


def _width(group: Sequence[Size]) -> float:
    """Of all its images together, if they are 1 high."""
    return sum(width / height for height, width in group)

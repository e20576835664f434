"""Lines over a common axis as the coordinates of an SVG drawing; colours and letters are the page's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

WIDTH, HEIGHT = 360, 220  # of the drawing, in its own units: about pixels
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 26  # margins, which hold the ticks' texts
MOST_POINTS = 400  # of a line, about; of more, neighbours are averaged
FEW_POINTS = 12  # up to which each has a dot

Point = tuple[float, float]


class Line(NamedTuple):
    """What is to be drawn: finite (x, y) in the order of x, and the colour's number, from 0."""

    name: str
    points: Sequence[Point]
    colour: int = 0


class Tick(NamedTuple):
    """A value on an axis: its position in the drawing, and its text."""

    position: float
    text: str


class DrawnLine(NamedTuple):
    """A line in the drawing's units."""

    name: str
    colour: int
    path: str  # SVG's: "M46.0 194.0 L..."
    dots: tuple[Point, ...]


@dataclass(frozen=True)
class Chart:
    """A drawing of WIDTH x HEIGHT."""

    title: str
    x_title: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[DrawnLine, ...]
    mark: Tick | None  # a value of x that is pointed out
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def line_chart(title: str, x_title: str, lines: Sequence[Line], mark: tuple[float, str] | None = None) -> Chart | None:
    """The drawing of these lines; None where no line has any point.

    `mark` points out a value of x: which, and what there is to say of it.
    """
    lines = [line._replace(points=_thinned(line.points)) for line in lines if line.points]
    if not lines:
        return None
    xs, ys = zip(*(point for line in lines for point in line.points), strict=True)
    x_axis = _Axis.around(xs, LEFT, WIDTH - RIGHT, margin=0.0)
    y_axis = _Axis.around(ys, HEIGHT - BOTTOM, TOP, margin=0.06)
    return Chart(
        title,
        x_title,
        x_axis.ticks(5, whole=all(float(x).is_integer() for x in xs)),
        y_axis.ticks(5),
        tuple(_drawn(line, x_axis, y_axis) for line in lines),
        None if mark is None else Tick(x_axis.position(mark[0]), mark[1]),
    )


class _Axis(NamedTuple):
    """Values from `low` to `high`, drawn between two positions."""

    low: float
    high: float
    first: float
    last: float

    @classmethod
    def around(cls, values: Sequence[float], first: float, last: float, margin: float) -> _Axis:
        """An axis for these values, with a share of `margin` of its length left on both sides."""
        low, high = min(values), max(values)
        reach = (high - low) or abs(high) or 1.0
        room = margin * reach if high > low else 0.5 * reach
        return cls(low - room, high + room, first, last)

    def position(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.first + share * (self.last - self.first), 1)

    def ticks(self, about: int, whole: bool = False) -> tuple[Tick, ...]:
        """About so many round values on the axis, whole numbers only if so wanted."""
        step = _round_step((self.high - self.low) / about)
        step = max(step, 1.0) if whole else step
        numbers = range(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1)
        return tuple(Tick(self.position(n * step), _tick_text(n * step, step)) for n in numbers)


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not far below `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= 0.8 * least)


def _tick_text(value: float, step: float) -> str:
    """A tick's value with as many digits as its neighbours differ in; very small ones as 2e-4."""
    if step < 1e-3:
        return "0" if abs(value) < step / 2 else f"{value:.1e}".replace(".0e", "e").replace("e-0", "e-")
    return f"{value:.{max(0, -math.floor(math.log10(step)))}f}"


def _drawn(line: Line, x_axis: _Axis, y_axis: _Axis) -> DrawnLine:
    points = tuple((x_axis.position(x), y_axis.position(y)) for x, y in line.points)
    path = "M" + " L".join(f"{x} {y}" for x, y in points)
    return DrawnLine(line.name, line.colour, path, points if len(points) <= FEW_POINTS else ())


def _thinned(points: Sequence[Point]) -> Sequence[Point]:
    """At most about MOST_POINTS of them: the means of as many neighbours as that takes."""
    together = math.ceil(len(points) / MOST_POINTS)
    groups = [points[i : i + together] for i in range(0, len(points), together)]
    if together <= 1:
        return points
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]

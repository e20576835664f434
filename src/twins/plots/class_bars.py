"""A metric of each class as bars."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from .figure import new_figure, save_figure
from .lettering import shortened


def draw_class_bars(
    values: Tensor,
    classes: Sequence[str],
    colours: np.ndarray,
    path: Path,
    title: str,
    counts: Tensor | None = None,
) -> None:
    """One bar a class, of (classes,) values in per cent, highest first; classes whose value is NaN are left out.

    `colours` are (classes, 3) bytes, `counts` (classes,) integers that are written beside the classes' names.
    """
    known = [i for i in range(len(classes)) if not values[i].isnan()]
    order = sorted(known, key=lambda i: float(values[i]))
    figure = new_figure(7, max(2.0, 0.2 * len(order) + 1))
    axes = figure.subplots()
    lengths = [float(values[i]) for i in order]
    bars = axes.barh(range(len(order)), lengths, color=colours[order] / 255, height=0.75)
    beside = ["" if counts is None else f" ({int(counts[i])})" for i in order]
    axes.set_yticks(range(len(order)), [shortened(classes[i]) + count for i, count in zip(order, beside, strict=True)])
    axes.bar_label(bars, fmt="%.1f", fontsize=7, padding=2)
    axes.tick_params(axis="y", labelsize=7)
    axes.margins(y=0.01)
    axes.set(xlim=(0, 108), title=title)
    save_figure(figure, path)

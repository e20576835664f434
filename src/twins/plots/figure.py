"""What plots share: an empty Matplotlib figure, its file, and colours."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from ..optional_dependencies import need
from .fonts import families
from .lettering import printable

INK = "#333333"  # of titles and letters
CORRECT, WRONG = "#2a6f4e", "#b3321b"  # of the titles of predictions


def new_figure(width: float, height: float) -> Any:
    """Of this size in inches. Raises TwinsError where Matplotlib is not installed."""
    return need("matplotlib.figure", extra="train").Figure((width, height), layout="constrained")


def save_figure(figure: Any, path: Path, dpi: int = 90) -> None:
    """Write a figure, whatever its texts hold: they are no formulas, and come in fonts that have their characters.

    `dpi` is its pixels an inch.
    """
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            axis.get_ticklabels()  # which lets the ticks have their texts, else only found as they are drawn
    texts = figure.findobj(need("matplotlib.text", extra="train").Text)
    for text in texts:
        text.set(text=printable(text.get_text()), parse_math=False, usetex=False)
    fonts = families(text.get_text() for text in texts)
    for text in texts:
        text.set_fontfamily(fonts)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)  # `families` has said it in one line
        figure.savefig(path, dpi=dpi)


def hide_axes(axes: Any) -> None:
    """Without a frame and ticks. Matplotlib lays out even ticks that are hidden, which takes longer than all else."""
    axes.axis("off")
    axes.set(xticks=[], yticks=[])

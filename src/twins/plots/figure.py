"""What plots share: an empty Matplotlib figure, and colours."""

from __future__ import annotations

from typing import Any

from ..optional_dependencies import need

INK = "#333333"  # of titles and letters
CORRECT, WRONG = "#2a6f4e", "#b3321b"  # of the titles of predictions


def new_figure(width: float, height: float) -> Any:
    """Of this size in inches. Raises TwinsError where Matplotlib is not installed."""
    return need("matplotlib.figure", extra="train").Figure((width, height), layout="constrained")


def hide_axes(axes: Any) -> None:
    """Without a frame and ticks. Matplotlib lays out even ticks that are hidden, which takes longer than all else."""
    axes.axis("off")
    axes.set(xticks=[], yticks=[])

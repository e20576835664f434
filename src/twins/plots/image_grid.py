"""A grid of images, each under a title."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from .figure import CORRECT, INK, WRONG, hide_axes, new_figure

MAX_IMAGES = 32


def draw_image_grid(
    images: Tensor, titles: Sequence[str], path: Path, headline: str, wrong: Sequence[bool] | None = None
) -> None:
    """The first 32 images of (N, C, H, W) in [0, 1], with a title each; where `wrong` is given, in red or in green."""
    shown = min(len(images), MAX_IMAGES)
    columns = min(shown, 8)
    rows = -(-shown // columns)
    figure = new_figure(1.35 * columns, 1.55 * rows + 0.4)
    cells = figure.subplots(rows, columns, squeeze=False).flatten()
    for cell in cells:
        hide_axes(cell)
    for i, cell in enumerate(cells[:shown]):
        cell.imshow(images[i].permute(1, 2, 0).squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1)
        color = INK if wrong is None else WRONG if wrong[i] else CORRECT
        cell.set_title(titles[i][:22], fontsize=8, color=color)
    figure.suptitle(headline, fontsize=10, color=INK)
    figure.savefig(path, dpi=90)

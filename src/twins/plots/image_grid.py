"""A grid of images, each under a title."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from .figure import INK, RIGHT, WRONG, new_figure


def draw_image_grid(
    images: Tensor, titles: Sequence[str], path: Path, headline: str, wrong: Sequence[bool] | None = None
) -> None:
    """Up to 32 images, (N, C, H, W) in [0, 1], with a title each; titles of wrong ones in red."""
    shown = min(len(images), 32)
    columns = min(shown, 8)
    rows = -(-shown // columns)
    figure = new_figure(1.35 * columns, 1.55 * rows + 0.4)
    cells = figure.subplots(rows, columns, squeeze=False).flatten()
    for cell in cells:
        cell.axis("off")
    for place, cell in enumerate(cells[:shown]):
        cell.imshow(images[place].permute(1, 2, 0).squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1)
        color = INK if wrong is None else WRONG if wrong[place] else RIGHT
        cell.set_title(titles[place][:22], fontsize=8, color=color)
    figure.suptitle(headline, fontsize=10, color=INK)
    figure.savefig(path, dpi=90)

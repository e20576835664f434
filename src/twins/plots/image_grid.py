"""A grid of images, each under a title."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from .figure import CORRECT, INK, WRONG, hide_axes, new_figure, save_figure
from .lettering import shortened

MAX_IMAGES = 32
LETTERS = 24  # of a title's line over an image


def draw_image_grid(
    images: Tensor,
    titles: Sequence[str | tuple[str, ...]],
    path: Path,
    headline: str,
    wrong: Sequence[bool] | None = None,
) -> None:
    """The first 32 images of (N, C, H, W) in [0, 1], with a title each, of a line or several; N is 1 or more.

    Where `wrong` is given, titles are in red or in green.
    """
    shown = min(len(images), MAX_IMAGES)
    lines = [(title,) if isinstance(title, str) else title for title in titles[:shown]]
    columns = min(shown, 8)
    rows = -(-shown // columns)
    height, width = images.shape[2:]
    tallest = 1.35 * min(max(height / width, 0.5), 2)
    across = max(1.5 * columns, 5.0)  # inches, which hold 11 letters of the headline each
    figure = new_figure(across, (tallest + 0.1 + 0.13 * max(map(len, lines))) * rows + 0.4)
    cells = figure.subplots(rows, columns, squeeze=False).flatten()
    for cell in cells:
        hide_axes(cell)
    for i, cell in enumerate(cells[:shown]):
        cell.imshow(images[i].permute(1, 2, 0).squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1)
        color = INK if wrong is None else WRONG if wrong[i] else CORRECT
        cell.set_title("\n".join(shortened(line, LETTERS) for line in lines[i]), fontsize=7.5, color=color)
    figure.suptitle(shortened(headline, int(11 * across)), fontsize=10, color=INK)
    save_figure(figure, path)

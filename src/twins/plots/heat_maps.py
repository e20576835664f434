"""Heat maps over an image, beside each other in one sheet with one colour bar."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any, NamedTuple

from torch import Tensor

from ..optional_dependencies import need
from .figure import INK, hide_axes, new_figure, save_figure
from .lettering import shortened

COLUMNS = 4
CELL_WIDTH = 2.1  # inches
COLOURS = "plasma"  # equal steps look equal, and differ in hue as well: the image beneath changes the lightness
STRENGTH = 0.6  # of a heat map over the image,
DARKEST = 0.3  # which is grey beneath, and no darker than this
DPI = 150
LETTERS = 30  # of a title over an image
HEADLINE = 110  # letters, whole words of them
MARK = "#00ffd0"  # of pixels and outlines: a colour that the heat maps have not


class HeatMap(NamedTuple):
    """What is drawn over the image, and its titles."""

    titles: tuple[str, ...]  # a line each
    heat: Tensor  # (h, w), 0 or more
    cell: tuple[float, float] = (
        1,
        1,
    )  # (height, width) of its values in pixels of the image, the first at the top left
    box: Tensor | None = None  # x0, y0, x1, y1 in pixels, to be outlined
    region: Tensor | None = None  # (H, W) of bool, to be outlined


def draw_heat_maps(
    image: Tensor,
    titles: tuple[str, ...],
    rows: Sequence[Sequence[HeatMap]],
    point: tuple[int, int],
    path: Path,
    headline: str,
) -> None:
    """The image under its titles, and behind it the heat maps, whose colours run from 0 to the largest value of each.

    Parameters
    ----------
    image:
        (C, H, W) in [0, 1], C being 1 or 3.
    rows:
        Of up to 4 heat maps; the first row of up to 3, behind the image.
    point:
        (row, column) of a pixel that is marked by a cross in each.
    """
    height, width = image.shape[1:]
    cell_height = CELL_WIDTH * min(max(height / width, 0.2), 1.6)
    figure = new_figure(COLUMNS * CELL_WIDTH + 0.9, len(rows) * (cell_height + 0.4) + 0.45)
    cells = figure.subplots(len(rows), COLUMNS, squeeze=False)
    for cell in cells.flatten():
        hide_axes(cell)
    _show_image(cells[0, 0], image)
    _entitle(cells[0, 0], titles)
    for line, maps in zip((cells[0, 1:], *cells[1:]), rows, strict=True):
        for cell, heat_map in zip(line, maps, strict=False):
            _show_heat(cell, image, heat_map)
            _mark(cell, point)
    _mark(cells[0, 0], point)
    _colour_bar(figure, cells)
    figure.suptitle(shorten(headline, HEADLINE, placeholder=" \u2026"), fontsize=10, color=INK)
    save_figure(figure, path, DPI)


def _show_image(cell: Any, image: Tensor) -> None:
    cell.imshow(image.permute(1, 2, 0).expand(-1, -1, 3).numpy())


def _entitle(cell: Any, titles: tuple[str, ...]) -> None:
    cell.set_title("\n".join(shortened(line, LETTERS) for line in titles), fontsize=8, color=INK)


def _show_heat(cell: Any, image: Tensor, heat_map: HeatMap) -> None:
    height, width = image.shape[1:]
    cell.imshow(DARKEST + (1 - DARKEST) * image.mean(dim=0).numpy(), cmap="gray", vmin=0, vmax=1)
    rows, columns = heat_map.heat.shape
    right, bottom = columns * heat_map.cell[1] - 0.5, rows * heat_map.cell[0] - 0.5  # pixels lie around whole numbers
    largest = max(float(heat_map.heat.max()), 1e-30)  # which leaves zeros
    cell.imshow(
        (heat_map.heat / largest).numpy(),
        **{"cmap": COLOURS, "vmin": 0, "vmax": 1, "alpha": STRENGTH},
        **{"extent": (-0.5, right, bottom, -0.5), "interpolation": "nearest"},
    )
    if heat_map.region is not None and 0 < heat_map.region.sum() < heat_map.region.numel():
        cell.contour(heat_map.region.numpy(), levels=[0.5], colors=MARK, linewidths=0.8)
    if heat_map.box is not None:
        x0, y0, x1, y1 = heat_map.box.tolist()
        rectangle = need("matplotlib.patches", extra="train").Rectangle
        cell.add_patch(rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, edgecolor=MARK, linewidth=1))
    cell.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    _entitle(cell, heat_map.titles)


def _mark(cell: Any, point: tuple[int, int]) -> None:
    cell.plot([point[1]], [point[0]], marker="+", markersize=8, markeredgewidth=1.4, color=MARK)


def _colour_bar(figure: Any, cells: Any) -> None:
    """For all heat maps at once, in the colours that they have over a middle grey."""
    colours = need("matplotlib", extra="train").colormaps[COLOURS](range(256))[:, :3]
    over_grey = STRENGTH * colours + (1 - STRENGTH) * (1 + DARKEST) / 2
    seen = need("matplotlib.colors", extra="train").ListedColormap(over_grey)
    scale = need("matplotlib.cm", extra="train").ScalarMappable(cmap=seen)
    scale.set_clim(0, 1)
    bar = figure.colorbar(scale, ax=cells, fraction=0.03, pad=0.01, aspect=30)
    bar.set_label("share of the map's largest value", fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=7, colors=INK)
    bar.outline.set_visible(False)

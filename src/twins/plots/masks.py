"""Pictures of a run: curves, confusion, what went in and what came out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..data.masks.dataset import IGNORED
from ..data.palette import class_colours
from ..optional_dependencies import need
from .boxes import shortened

NAMED = 23  # colours in a legend
INK, RIGHT, WRONG = "#333333", "#2a6f4e", "#b3321b"


def _figure(width: float, height: float) -> Any:
    return need("matplotlib.figure", extra="train").Figure((width, height), layout="constrained")


def draw_curves(history: Sequence[dict[str, Any]], columns: Sequence[tuple[str, str, int]], path: Path) -> None:
    """Losses, a task's figures (of which the first decides), and the learning rate against the epoch."""
    epochs = [row["epoch"] for row in history]
    figures = {title: f"test_{name}" for name, title, _ in columns if name != "loss"}
    losses = {"training": "train_loss", "held out": "test_loss"}
    panels = {
        "loss": {label: column for label, column in losses.items() if column in history[0]},
        "held-out figures (%)": figures,
        "learning rate": {"at the epoch's start": "train_lr"},
    }
    figure = _figure(12, 3.4)
    for axes, (title, lines) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        for label, column in lines.items():
            marker = "o" if len(epochs) < 10 else ""
            axes.plot(epochs, [row[column] for row in history], label=label, linewidth=1.6, marker=marker, markersize=4)
        axes.set(title=title, xlabel="epoch")
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)
    name, column = next(iter(figures.items()))
    best = max(history, key=lambda row: row[column])
    figure.suptitle(f"best {name} {best[column]:.2f} % in epoch {best['epoch']}", color=INK)
    figure.savefig(path, dpi=90)


def draw_confusion(confusion: Tensor, classes: Sequence[str], path: Path) -> None:
    """[truth, prediction] counts, shaded by the share of the truth; cells are numbered where they are large enough."""
    shares = confusion / confusion.sum(dim=1, keepdim=True).clamp(min=1)
    count = len(classes)
    side = min(max(4.5, 0.45 * count), 14)
    figure = _figure(side + 1, side)
    axes = figure.subplots()
    axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    if count <= 40:
        axes.set_xticks(range(count), classes, rotation=90 if max(map(len, classes)) > 3 else 0)
        axes.set_yticks(range(count), classes)
        for truth, answer in confusion.nonzero().tolist():
            color = "white" if shares[truth, answer] > 0.5 else INK
            axes.text(answer, truth, int(confusion[truth, answer]), ha="center", va="center", color=color, fontsize=8)
    right = 100 * confusion.diagonal().sum() / confusion.sum().clamp(min=1)
    axes.set(xlabel="predicted", ylabel="true", title=f"{right:.2f} % of {int(confusion.sum())} pictures right")
    figure.savefig(path, dpi=90)


def draw_pictures(
    images: Tensor, titles: Sequence[str], path: Path, headline: str, wrong: Sequence[bool] | None = None
) -> None:
    """Up to 32 pictures, (N, C, H, W) in [0, 1], with a title each; titles of wrong ones in red."""
    shown = min(len(images), 32)
    columns = min(shown, 8)
    rows = -(-shown // columns)
    figure = _figure(1.35 * columns, 1.55 * rows + 0.4)
    cells = figure.subplots(rows, columns, squeeze=False).flatten()
    for cell in cells:
        cell.axis("off")
    for place, cell in enumerate(cells[:shown]):
        cell.imshow(images[place].permute(1, 2, 0).squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1)
        color = INK if wrong is None else WRONG if wrong[place] else RIGHT
        cell.set_title(titles[place][:22], fontsize=8, color=color)
    figure.suptitle(headline, fontsize=10, color=INK)
    figure.savefig(path, dpi=90)


class Masked(NamedTuple):
    """A picture with one or more masks over it, each under a title."""

    picture: Tensor  # (C, H, W) in [0, 1]
    masks: dict[str, Tensor]  # (H, W) of labels; 255: none


def draw_masks(rows: Sequence[Masked], classes: Sequence[str], path: Path, headline: str) -> None:
    """Each picture, and beside it each of its masks laid over it; the commonest classes' colours are named."""
    colours = class_colours(len(classes))
    handles = _legend([mask for row in rows for mask in row.masks.values()], classes, colours)
    across = 1 + len(rows[0].masks)
    columns = 1 if len(rows) < 4 or across > 3 else 2  # rows of the table that stand beside each other
    lines = -(-len(rows) // columns)
    width = 1.9 * across * columns
    names = max(int(width / (0.5 + 0.07 * max(len(handle.get_label()) for handle in handles))), 1)  # in a line
    tallest = min(max(row.picture.shape[1] / row.picture.shape[2] for row in rows), 1.5)
    figure = _figure(width, (1.9 * tallest + 0.25) * lines + 0.4 + 0.18 * -(-len(handles) // names))
    cells = figure.subplots(lines, across * columns, squeeze=False).reshape(-1, across)
    for cell in cells.flatten():
        cell.axis("off")
    for row, line in zip(rows, cells, strict=False):
        picture = row.picture.permute(1, 2, 0).expand(-1, -1, 3).numpy()
        line[0].imshow(picture)
        for cell, (title, mask) in zip(line[1:], row.masks.items(), strict=True):
            cell.imshow(_overlay(picture, mask.numpy(), colours))
            cell.set_title(title, fontsize=8, color=INK)
    figure.legend(handles=handles, loc="outside lower center", ncols=names, fontsize=8, frameon=False)
    figure.suptitle(headline, fontsize=10, color=INK)
    figure.savefig(path, dpi=90)


def _legend(masks: Sequence[Tensor], classes: Sequence[str], colours: np.ndarray) -> list[Any]:
    """A patch for each class that occurs, for how many more there are, and for pixels of no class."""
    patch = need("matplotlib.patches", extra="train").Patch
    pixels = sum(mask.flatten().long().bincount(minlength=IGNORED + 1) for mask in masks)
    assert isinstance(pixels, Tensor)
    occurring = [label for label in pixels.argsort(descending=True).tolist() if pixels[label] and label != IGNORED]
    named = sorted(occurring[:NAMED])
    handles = [patch(color=colours[label] / 255, label=shortened(classes[label])) for label in named]
    if len(occurring) > NAMED:
        handles.append(patch(color="none", label=f"and {len(occurring) - NAMED} more"))
    if pixels[IGNORED]:
        handles.append(patch(facecolor="white", edgecolor="#aaaaaa", label="no class"))
    return handles


def draw_class_bars(values: Tensor, classes: Sequence[str], colours: np.ndarray, path: Path, title: str) -> None:
    """One bar a class, (classes,) in per cent, highest first; classes without a figure (nan) are left out."""
    known = [i for i in range(len(classes)) if not values[i].isnan()]
    order = sorted(known, key=lambda i: float(values[i]))
    figure = _figure(7, max(2.0, 0.2 * len(order) + 1))
    axes = figure.subplots()
    lengths = [float(values[i]) for i in order]
    bars = axes.barh([classes[i] for i in order], lengths, color=colours[order] / 255, height=0.75)
    axes.bar_label(bars, fmt="%.1f", fontsize=7, padding=2)
    axes.tick_params(axis="y", labelsize=7)
    axes.margins(y=0.01)
    axes.set(xlim=(0, 108), title=title)
    figure.savefig(path, dpi=90)


def _overlay(picture: Any, mask: Any, colours: Any) -> Any:
    """(H, W, 3) in [0, 1]: the picture faded, with the colours of its labels over it; what has none turns white."""
    table = np.full((IGNORED + 1, 3), 255, dtype=np.uint8)
    table[: len(colours)] = colours
    return 0.45 * picture + 0.55 * table[mask] / 255


def denormalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(N, C, H, W) as the network sees it, back to [0, 1]."""
    shape = (1, len(mean), 1, 1)
    return (images.float() * torch.tensor(std).view(shape) + torch.tensor(mean).view(shape)).clamp(0, 1)

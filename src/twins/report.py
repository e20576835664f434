"""Pictures of a run: curves, confusion, what went in and what came out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .extras import need

INK, RIGHT, WRONG = "#333333", "#2a6f4e", "#b3321b"


def _figure(width: float, height: float) -> Any:
    return need("matplotlib.figure", extra="train").Figure((width, height), layout="constrained")


def draw_curves(history: Sequence[dict[str, Any]], path: Path) -> None:
    """Losses, the deciding figures, and the learning rate against the epoch."""
    epochs = [row["epoch"] for row in history]
    panels = {
        "loss": ["train_loss", "test_loss"],
        "accuracy (%)": ["test_acc1", "test_acc5"],
        "learning rate": ["train_lr"],
    }
    figure = _figure(12, 3.4)
    for axes, (title, columns) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        for column in columns:
            axes.plot(epochs, [row[column] for row in history], label=column, linewidth=1.6)
        axes.set(title=title, xlabel="epoch")
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)
    best = max(history, key=lambda row: row["test_acc1"])
    figure.suptitle(f"best {best['test_acc1']:.2f} % at epoch {best['epoch']}", color=INK)
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


def denormalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(N, C, H, W) as the network sees it, back to [0, 1]."""
    shape = (1, len(mean), 1, 1)
    return (images.float() * torch.tensor(std).view(shape) + torch.tensor(mean).view(shape)).clamp(0, 1)

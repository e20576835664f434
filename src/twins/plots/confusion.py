"""The confusion matrix of a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from .figure import INK, new_figure

NAMED_CLASSES = 40


def draw_confusion(confusion: Tensor, classes: Sequence[str], path: Path) -> None:
    """(classes, classes) int64 counts, [truth, prediction], shaded by their share of the truth.

    Up to NAMED_CLASSES classes are named, and the counts written into their cells.
    """
    shares = confusion / confusion.sum(dim=1, keepdim=True).clamp(min=1)
    side = min(max(4.5, 0.45 * len(classes)), 14)
    figure = new_figure(side + 1, side)
    axes = figure.subplots()
    axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    if len(classes) <= NAMED_CLASSES:
        axes.set_xticks(range(len(classes)), classes, rotation=90 if max(map(len, classes)) > 3 else 0)
        axes.set_yticks(range(len(classes)), classes)
        for truth, predicted in confusion.nonzero().tolist():
            count, color = int(confusion[truth, predicted]), "white" if shares[truth, predicted] > 0.5 else INK
            axes.text(predicted, truth, count, ha="center", va="center", color=color, fontsize=8)
    accuracy = 100 * confusion.diagonal().sum() / confusion.sum().clamp(min=1)
    title = f"confusion matrix, accuracy {accuracy:.2f} % on {int(confusion.sum())} images"
    axes.set(xlabel="predicted class", ylabel="true class", title=title)
    figure.savefig(path, dpi=90)

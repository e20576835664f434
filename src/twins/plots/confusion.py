"""The confusion matrix of a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from .figure import INK, new_figure


def draw_confusion(confusion: Tensor, classes: Sequence[str], path: Path) -> None:
    """[truth, prediction] counts, shaded by the share of the truth; cells are numbered where they are large enough."""
    shares = confusion / confusion.sum(dim=1, keepdim=True).clamp(min=1)
    count = len(classes)
    side = min(max(4.5, 0.45 * count), 14)
    figure = new_figure(side + 1, side)
    axes = figure.subplots()
    axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    if count <= 40:
        axes.set_xticks(range(count), classes, rotation=90 if max(map(len, classes)) > 3 else 0)
        axes.set_yticks(range(count), classes)
        for truth, answer in confusion.nonzero().tolist():
            color = "white" if shares[truth, answer] > 0.5 else INK
            axes.text(answer, truth, int(confusion[truth, answer]), ha="center", va="center", color=color, fontsize=8)
    right = 100 * confusion.diagonal().sum() / confusion.sum().clamp(min=1)
    axes.set(xlabel="predicted", ylabel="true", title=f"{right:.2f} % of {int(confusion.sum())} images right")
    figure.savefig(path, dpi=90)

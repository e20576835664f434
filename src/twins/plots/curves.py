"""Losses, metrics and the learning rate of a run against the epoch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .figure import INK, new_figure


def draw_curves(history: Sequence[dict[str, Any]], columns: Sequence[tuple[str, str, int]], path: Path) -> None:
    """Losses, a task's figures (of which the first decides), and the learning rate against the epoch."""
    epochs = [row["epoch"] for row in history]
    figures = {title: f"test_{name}" for name, title, _ in columns if name != "loss"}
    losses = {"training": "train_loss", "validation": "test_loss"}
    panels = {
        "loss": {label: column for label, column in losses.items() if column in history[0]},
        "validation figures (%)": figures,
        "learning rate": {"at the epoch's start": "train_lr"},
    }
    figure = new_figure(12, 3.4)
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

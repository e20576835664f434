"""Losses, metrics and the learning rate of a run against the epoch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .figure import INK, new_figure, save_figure


def draw_curves(
    history: Sequence[dict[str, Any]],
    columns: Sequence[tuple[str, str, int]],
    best_metric: str,
    path: Path,
    training: str = "training",
) -> None:
    """Plot losses, validation metrics (%) and the learning rate against the epoch, three panels in one file.

    `history` holds the epochs as `log.txt` does, `columns` a task's metrics as (name, title, digits). The title names
    the epoch in which `best_metric` is largest, and the legend calls the training loss `training`.
    """
    epochs = [row["epoch"] for row in history]
    losses = {training: [row["train_loss"] for row in history]}
    if "val_loss" in history[0] or "test_loss" in history[0]:
        losses["validation"] = _validation(history, "loss")
    metrics = {title: _validation(history, name) for name, title, _ in columns if name != "loss"}
    panels = {
        "loss": losses,
        "validation metrics (%)": metrics,
        "learning rate": {"at the epoch's start": [row["train_lr"] for row in history]},
    }
    figure = new_figure(12, 3.4)
    for axes, (title, lines) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        for label, values in lines.items():
            marker = "o" if len(epochs) < 10 else ""
            axes.plot(epochs, values, label=label, linewidth=1.6, marker=marker, markersize=4)
        axes.set(title=title, xlabel="epoch")
        axes.locator_params(axis="x", integer=True)
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)
    values = _validation(history, best_metric)
    best = max(range(len(values)), key=values.__getitem__)
    title = next(title for name, title, _ in columns if name == best_metric)
    figure.suptitle(f"best {title} {values[best]:.2f} % in epoch {epochs[best]}", color=INK)
    save_figure(figure, path)


def _validation(history: Sequence[dict[str, Any]], name: str) -> list[float]:
    """A validation metric's values: earlier versions logged `val_acc1` as `test_acc1`, as main.py still does."""
    return [row[f"val_{name}"] if f"val_{name}" in row else row[f"test_{name}"] for row in history]

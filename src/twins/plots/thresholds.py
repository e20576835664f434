"""Precision, recall and F1 of a detector over the score from which its detections count."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .figure import INK, new_figure, save_figure


def draw_thresholds(
    threshold: np.ndarray, curves: dict[str, np.ndarray], best: int, best_curve: str, path: Path
) -> None:
    """Plot (T,) curves from 0 to 1, by name, against (T,) thresholds, and the index at which `best_curve` is best."""
    figure = new_figure(6.5, 4.2)
    axes = figure.subplots()
    for name, values in curves.items():
        axes.plot(threshold, values, label=name, linewidth=2.2 if name == best_curve else 1.4)
    axes.axvline(threshold[best], color=INK, linewidth=1, linestyle=":")
    axes.plot([threshold[best]], [curves[best_curve][best]], "o", color=INK, markersize=5)
    axes.set(xlabel="score threshold (--conf)", xlim=(0, 1), ylim=(0, 1.02))
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="lower left")
    at_best = ", ".join(f"{name} {curve[best]:.2f}" for name, curve in curves.items())
    figure.suptitle(f"at a threshold of {threshold[best]:.2f}: {at_best}", fontsize=11, color=INK)
    save_figure(figure, path)

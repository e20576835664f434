"""The plot of score thresholds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from twins.plots.thresholds import draw_thresholds


def test_curves_and_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    titles: list[str] = []
    lines: dict[str, list[float]] = {}
    plot = Axes.plot

    def noting(self: Axes, x, y, *args, **options):
        lines[options.get("label", "best")] = [*map(float, x), *map(float, y)]
        return plot(self, x, y, *args, **options)

    monkeypatch.setattr(Axes, "plot", noting)
    monkeypatch.setattr(Figure, "suptitle", lambda self, text, **_: titles.append(text))
    curves = {"precision": np.array([0.25, 0.75]), "F1": np.array([0.4, 0.6])}
    draw_thresholds(np.array([0.1, 0.5]), curves, 1, "F1", tmp_path / "thresholds.png")
    assert lines == {"precision": [0.1, 0.5, 0.25, 0.75], "F1": [0.1, 0.5, 0.4, 0.6], "best": [0.5, 0.6]}
    assert titles == ["at a threshold of 0.50: precision 0.75, F1 0.60"]
    assert (tmp_path / "thresholds.png").stat().st_size > 5000

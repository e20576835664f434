"""The confusion matrix, and a detector's thresholds, as files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from twins.metrics.confusion_table import cells_of, write_confusion
from twins.metrics.score_thresholds import ScoreThresholds, write_thresholds


def test_cells_of_a_matrix(tmp_path: Path) -> None:
    cells = cells_of(torch.tensor([[5, 0], [2, 3]]))
    assert cells == {(0, 0): 5, (1, 0): 2, (1, 1): 3}
    write_confusion(tmp_path / "confusion.csv", cells, ("a, b", "c\udce9"), "images")
    lines = (tmp_path / "confusion.csv").read_text(encoding="utf-8").splitlines()
    assert lines == ["truth,predicted,images", '"a, b","a, b",5', 'c\\udce9,"a, b",2', "c\\udce9,c\\udce9,3"]


def test_an_empty_matrix() -> None:
    assert cells_of(torch.zeros(0, 0, dtype=torch.int64)) == {}


def test_thresholds(tmp_path: Path) -> None:
    thresholds = ScoreThresholds(np.array([0.05, 0.1]), np.array([0.5, 1.0]), np.array([0.5, 0.0]))
    write_thresholds(tmp_path / "thresholds.csv", thresholds)
    lines = (tmp_path / "thresholds.csv").read_text(encoding="utf-8").splitlines()
    assert lines == ["threshold,precision,recall,F1", "0.05,0.5,0.5,0.5", "0.10,1.0,0.0,0.0"]

"""What is taken for what, as a file that a spreadsheet opens."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

Cells = Mapping[tuple[int, int], int]  # counts by (truth, prediction)


def cells_of(confusion: Tensor) -> Cells:
    """The cells of a (classes, classes) int64 matrix, [truth, prediction], that are not 0."""
    indices = confusion.nonzero()
    counts = confusion[indices[:, 0], indices[:, 1]].tolist()
    return {(truth, predicted): count for (truth, predicted), count in zip(indices.tolist(), counts, strict=True)}


def write_confusion(path: Path, cells: Cells, classes: Sequence[str], counted: str) -> None:
    """Write a CSV file with a row for each of `cells`: the true class, the predicted one, and how many `counted`."""
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        table = csv.writer(file)
        table.writerow(["truth", "predicted", counted])
        for (truth, predicted), count in sorted(cells.items()):
            table.writerow([classes[truth], classes[predicted], count])

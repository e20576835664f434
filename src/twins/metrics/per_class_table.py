"""The metrics of each class, as a file that a spreadsheet opens."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor


def write_per_class(path: Path, classes: Sequence[str], columns: Mapping[str, Tensor]) -> None:
    """Write a CSV file with a row for each class: its name, and its value in each of the named columns.

    Columns are (classes,) tensors: integers are counts; floats are written with two digits, NaN as an empty cell, for
    a metric that is not defined.
    """
    rows = zip(classes, *(column.tolist() for column in columns.values()), strict=True)
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        table = csv.writer(file)
        table.writerow(["class", *columns])
        table.writerows([name, *map(_cell, values)] for name, *values in rows)


def _cell(value: int | float) -> int | str:
    if isinstance(value, int):
        return value
    return "" if value != value else f"{value:.2f}"  # NaN alone differs from itself

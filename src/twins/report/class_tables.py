"""The metrics of each class, of one run or of several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .run_files import RunFiles, as_number

MOST_ROWS = 1000  # more make the page heavy
_UNDEFINED = "\u2013"


class ClassCell(NamedTuple):
    """Of a table that can be sorted."""

    text: str
    number: float | None  # None sorts last
    bar: float | None = None  # from 0 to 100, drawn below the text
    is_change: bool = False  # of which more is a gain, and less a loss


class ClassTable(NamedTuple):
    """The worst classes first, at most MOST_ROWS."""

    columns: tuple[str, ...]  # after the class's name
    rows: tuple[tuple[str, tuple[ClassCell, ...]], ...]
    hidden: int  # rows that are left out


def class_table(run: RunFiles) -> ClassTable | None:
    """All metrics of each class of a run; None where it has none."""
    table = run.per_class
    if "class" not in table.columns:
        return None
    names = table.column("class")
    columns = tuple(name for name in table.columns if name != "class")
    cells = [tuple(_cell(text, name == run.class_metric) for text in table.column(name)) for name in columns]
    values = run.class_values()
    rows = sorted(zip(names, zip(*cells, strict=True), strict=True), key=lambda row: values.get(row[0], float("inf")))
    return ClassTable(columns, tuple(rows[:MOST_ROWS]), max(len(rows) - MOST_ROWS, 0))


def _cell(text: str, is_share: bool) -> ClassCell:
    number = as_number(text)
    return ClassCell(text or _UNDEFINED, number, number if is_share else None)


def gains_and_losses(runs: Sequence[RunFiles], labels: Sequence[str]) -> ClassTable | None:
    """The task's own metric of each class in each run, and by how much it is more in each later one than in the first.

    Classes that lost most, in any of them, come first. None where fewer than two runs have such metrics.
    """
    values = [run.class_values() for run in runs]
    if sum(map(bool, values)) < 2:
        return None
    names = list(dict.fromkeys(name for of_run in values for name in of_run))
    rows = []
    for name in names:
        first, *later = [of_run.get(name) for of_run in values]
        changes = [None if first is None or value is None else value - first for value in later]
        cells = [ClassCell(_written(v), v) for v in (first, *later)]
        cells += [ClassCell(_written(c, "+"), c, is_change=True) for c in changes]
        rows.append((min((c for c in changes if c is not None), default=float("inf")), name, tuple(cells)))
    rows.sort(key=lambda row: row[0])
    columns = (*labels, *(f"{label} \u2212 {labels[0]}" for label in labels[1:]))
    shown = tuple((name, cells) for _, name, cells in rows[:MOST_ROWS])
    return ClassTable(columns, shown, max(len(rows) - MOST_ROWS, 0))


def _written(value: float | None, sign: str = "") -> str:
    """With two digits and a proper minus."""
    return _UNDEFINED if value is None else f"{value:{sign}.2f}".replace("-", "\u2212")

"""What a network takes for what, from a run's confusion.csv: all of it for few classes, the commonest of many."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from .run_files import read_table

MATRIX_CLASSES = 30  # of more a matrix cannot be read
COMMONEST = 20
LARGEST_COUNT = 9999  # that is written into a cell


class Cell(NamedTuple):
    """Of a matrix."""

    text: str  # empty for 0
    share: float  # of the class's truth, from 0 to 1


class Confused(NamedTuple):
    """A pair of classes."""

    truth: str
    predicted: str
    times: int
    share: float  # of the truth, from 0 to 1


class Confusions(NamedTuple):
    """The matrix is empty for many classes."""

    counted: str  # what: images, objects, pixels
    in_percent: bool  # the cells' texts: large counts cannot be compared at a glance
    classes: tuple[str, ...]
    matrix: tuple[tuple[Cell, ...], ...]  # a row a class of the truth, a column a predicted one
    commonest: tuple[Confused, ...]  # most first


def read_confusions(file: Path, classes: tuple[str, ...]) -> Confusions | None:
    """Those in a table of truth, prediction and count, its classes in this order first; None where there is no table.

    Raises TwinsError for a damaged file.
    """
    table = read_table(file)
    if len(table.columns) != 3:
        return None
    counts = {(truth, predicted): int(count) for truth, predicted, count in table.rows if count.isdigit()}
    known = tuple(dict.fromkeys((*classes, *(name for pair in counts for name in pair))))
    of_truth = Counter[str]()
    for (truth, _), count in counts.items():
        of_truth[truth] += count

    def share(truth: str, predicted: str) -> float:
        return counts.get((truth, predicted), 0) / max(of_truth[truth], 1)

    in_percent = max(counts.values(), default=0) > LARGEST_COUNT

    def cell(truth: str, predicted: str) -> Cell:
        times, of_all = counts.get((truth, predicted), 0), share(truth, predicted)
        text = f"{100 * of_all:.1f}" if in_percent else str(times)
        return Cell(text if times else "", of_all)

    few = known if len(known) <= MATRIX_CLASSES else ()
    matrix = tuple(tuple(cell(t, p) for p in few) for t in few)
    wrong = [Confused(t, p, count, share(t, p)) for (t, p), count in counts.items() if t != p and count]
    commonest = sorted(wrong, key=lambda pair: -pair.times)[:COMMONEST]
    return Confusions(table.columns[2], in_percent, known, matrix, tuple(commonest))

"""What a run's folder tells of the run: its files, read without the network and without PyTorch."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import TwinsError
from ..recipes import TASKS

CLASS_METRICS = ("AP", "IoU", "accuracy")  # columns of per_class.csv, of which the first there is the task's own
_OF_VALIDATION = ("val_", "test_")  # how names of validation metrics begin in log.txt; test_: main.py, and earlier ones


class Table(NamedTuple):
    """A CSV file."""

    columns: list[str]
    rows: list[list[str]]

    def column(self, name: str) -> list[str]:
        """The cells of the column of this name."""
        index = self.columns.index(name)
        return [row[index] for row in self.rows]


class Metric(NamedTuple):
    """How a metric is shown."""

    name: str  # in log.txt, without `val_`
    title: str
    digits: int


@dataclass(frozen=True)
class RunFiles:
    """A run of `twins train`, finished or not, or an evaluation of `twins eval`.

    Files that an earlier version did not write, or this run has not written yet, are empty.
    """

    folder: Path
    recipe: dict[str, Any]  # the fields of the recipe
    ran_on: dict[str, Any]  # versions, machine, command
    setup: dict[str, Any]  # of what network on what data, and what was noticed
    summary: dict[str, Any]  # of a run that has ended
    epochs: tuple[dict[str, Any], ...]  # oldest first
    evaluated: dict[str, float]  # metrics of an evaluation

    @property
    def task(self) -> str:
        return str(self.recipe["task"])

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @property
    def metrics(self) -> list[Metric]:
        """Those that the task shows, the one that decides which epoch is best first."""
        if "metrics" in self.setup:
            return _metrics(self.folder / "setup.json", self.setup["metrics"])
        names = [name for name in self._values_of_last() if name != "images"]
        return [Metric(name, name, 3 if name == "loss" else 2) for name in names]

    def _values_of_last(self) -> dict[str, float]:
        return self.evaluated or (validation_metrics(self.epochs[-1]) if self.epochs else {})

    @property
    def best_metric(self) -> str | None:
        """The name of the metric that decides which epoch is best; None before there is any."""
        return self.metrics[0].name if self.metrics else None

    @property
    def best(self) -> dict[str, Any] | None:
        """The best epoch so far; the first of equal ones."""
        name = self.best_metric
        known = [epoch for epoch in self.epochs if name in validation_metrics(epoch)]
        return max(known, key=lambda epoch: validation_metrics(epoch)[str(name)]) if known else None

    @property
    def results(self) -> dict[str, float]:
        """The metrics of the evaluation, or of the best epoch."""
        return self.evaluated or (validation_metrics(self.best) if self.best else {})

    def series(self, column: str) -> list[tuple[float, float]]:
        """(epoch, value) of a column of log.txt, or of a validation metric, where it is a finite number."""
        values = [(epoch["epoch"], epoch.get(column, validation_metrics(epoch).get(column))) for epoch in self.epochs]
        return [(x, y) for x, y in values if isinstance(y, int | float) and math.isfinite(y)]

    @cached_property
    def per_class(self) -> Table:
        return read_table(self.folder / "per_class.csv")

    @property
    def class_metric(self) -> str | None:
        """The column of `per_class` that says how well a class is recognised."""
        return next((name for name in CLASS_METRICS if name in self.per_class.columns), None)

    def class_values(self) -> dict[str, float]:
        """`class_metric` by class, in per cent, where it is defined."""
        if self.class_metric is None:
            return {}
        pairs = zip(self.per_class.column("class"), self.per_class.column(self.class_metric), strict=True)
        return {name: number for name, cell in pairs if (number := as_number(cell)) is not None}


def read_run(folder: Path) -> RunFiles:
    """The run in this folder. Raises TwinsError for a folder that is no run's, and for a damaged file in it."""
    if not folder.is_dir():
        raise TwinsError(f"{folder}: no such folder; name the folder of a run, such as runs/classify/digits")
    stored = _json_object(folder / "recipe.json")
    recipe = stored.get("recipe", {})
    if not isinstance(recipe, dict) or recipe.get("task") not in TASKS:
        earlier = "; twins eval of this version writes one" if (folder / "metrics.json").exists() else ""
        raise TwinsError(f"{folder}: no run of twins: there is no recipe.json with a task in it{earlier}")
    return RunFiles(
        folder=folder,
        recipe=recipe,
        ran_on=_object_in(stored, "ran_on"),
        setup=_json_object(folder / "setup.json"),
        summary=_json_object(folder / "summary.json"),
        epochs=tuple(_epochs(folder / "log.txt")),
        evaluated=_json_object(folder / "metrics.json"),
    )


def validation_metrics(epoch: dict[str, Any]) -> dict[str, float]:
    """The metrics of an epoch's validation, by their names without a prefix."""
    return {
        key.removeprefix(prefix): value
        for key, value in epoch.items()
        for prefix in _OF_VALIDATION
        if key.startswith(prefix) and isinstance(value, int | float)
    }


def read_table(path: Path) -> Table:
    """A CSV file with a line of titles; empty where there is none. Raises TwinsError for a damaged one."""
    if not path.exists():
        return Table([], [])
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            columns, *rows = list(csv.reader(file)) or [[]]
    except (OSError, csv.Error) as error:
        raise TwinsError(f"{path}: cannot be read ({error}); remove it") from error
    return Table(columns, [row for row in rows if len(row) == len(columns)])


def read_captions(path: Path) -> list[tuple[str, str, str]]:
    """(image, caption, file that it is of) of the worst mistakes; none where there is no file.

    Raises TwinsError for a damaged one.
    """
    text = _text(path)
    entries = _parsed(path, text) if text else []
    try:
        return [(Path(entry["image"]).name, str(entry["caption"]), str(entry["file"])) for entry in entries]
    except (TypeError, KeyError) as error:
        raise TwinsError(f"{path}: expected a list of images with captions; remove the file") from error


def as_number(cell: str) -> float | None:
    """The number in a cell; None of an empty cell or one of text."""
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _epochs(path: Path) -> Iterator[dict[str, Any]]:
    """The epochs of a log. Of one that was run twice, since its first end was not saved, the last counts."""
    by_number: dict[int, dict[str, Any]] = {}
    for line in _text(path).splitlines():
        record = _parsed(path, line)
        if not isinstance(record, dict) or not isinstance(record.get("epoch"), int):
            raise TwinsError(f"{path}: a line is not an epoch's JSON object; remove that line")
        by_number[record["epoch"]] = record
    yield from (by_number[number] for number in sorted(by_number))


def _metrics(path: Path, rows: Any) -> list[Metric]:
    try:
        return [Metric(str(name), str(title), int(digits)) for name, title, digits in rows]
    except (TypeError, ValueError) as error:
        raise TwinsError(f"{path}: its metrics are no list of names, titles and digits; remove the file") from error


def _json_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is no file. Raises TwinsError for anything else."""
    text = _text(path)
    value = _parsed(path, text) if text else {}
    if not isinstance(value, dict):
        raise TwinsError(f"{path}: expected a JSON object; remove the file")
    return value


def _object_in(values: dict[str, Any], key: str) -> dict[str, Any]:
    return values[key] if isinstance(values.get(key), dict) else {}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise TwinsError(f"{path}: cannot be read ({error}); remove it") from error


def _parsed(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise TwinsError(f"{path}: not JSON ({error}); remove what is damaged") from error

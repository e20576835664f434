"""Several runs on one page: their curves over each other, and in what settings, metrics and classes they differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import TwinsError
from ..progress import clock, per_second
from .class_tables import gains_and_losses
from .line_charts import Chart, Line, line_chart
from .rendering import write_page
from .run_files import Metric, RunFiles, read_run
from .settings import ABSENT, differing


class Compared(NamedTuple):
    """A quantity of each run."""

    title: str
    texts: tuple[str, ...]
    best: tuple[bool, ...]  # of which runs it is the best; of none where there is no better and worse


class Comparison(NamedTuple):
    """Two or more runs of one task."""

    runs: tuple[RunFiles, ...]
    labels: tuple[str, ...]  # what each is called: its folder's name, or its path where names are the same

    def rows(self) -> Iterator[Compared]:
        """Metrics, time and speed side by side."""
        for metric in self.metrics():
            yield _compared(metric, [run.results.get(metric.name) for run in self.runs])
        for title, texts in (("best epoch", map(_best_epoch, self.runs)), ("epochs", map(_epochs, self.runs)),
                             ("time", map(_time, self.runs)), ("images a second", map(_speed, self.runs))):  # fmt: skip
            yield _without_best(title, tuple(texts))

    def metrics(self) -> list[Metric]:
        """Those of all runs, as the first one that has them shows them."""
        known = {metric.name: metric for run in reversed(self.runs) for metric in reversed(run.metrics)}
        titled = {m.name: m for run in self.runs for m in run.metrics if m.title != m.name}
        return [titled.get(name, known[name]) for name in reversed(known)]


def read_comparison(folders: Sequence[Path]) -> Comparison:
    """The runs in these folders.

    Raises TwinsError for a folder that is no run's, one that is named twice, fewer than two, and runs of several tasks.
    """
    if len(folders) < 2:
        raise TwinsError("two runs or more are compared; name the folders of two")
    runs = tuple(map(read_run, folders))
    seen: dict[Path, Path] = {}
    for folder in folders:
        if folder.resolve() in seen:
            raise TwinsError(f"{folder}: named twice; name the folder of another run")
        seen[folder.resolve()] = folder
    for run in runs[1:]:
        if run.task != runs[0].task:
            other = f"{runs[0].folder} is one to {runs[0].task}"
            raise TwinsError(f"{run.folder}: a run to {run.task}, but {other}; compare runs of one task")
    names = [run.name for run in runs]
    labels = tuple(str(run.folder) if names.count(run.name) > 1 else run.name for run in runs)
    return Comparison(runs, labels)


def write_comparison(comparison: Comparison, path: Path) -> None:
    """Write the page. Raises TwinsError where it cannot be written."""
    from .. import __version__

    runs, labels = comparison
    settings = differing([run.recipe for run in runs])
    write_page(
        path,
        "comparison.html",
        task=runs[0].task,
        runs=list(zip(labels, runs, strict=True)),
        rows=list(comparison.rows()),
        charts=[chart for chart in _charts(comparison) if chart],
        settings=settings,
        any_absent=any(ABSENT in setting.values for setting in settings),
        classes=gains_and_losses(runs, labels),
        class_metric=next((run.class_metric for run in runs if run.class_metric), None),
        version=__version__,
    )


def _charts(comparison: Comparison) -> Iterator[Chart | None]:
    """One quantity each, with a line a run."""
    columns = [("train_loss", "Training loss"), ("loss", "Validation loss")]
    columns += [(metric.name, f"{metric.title} (%)") for metric in comparison.metrics() if metric.name != "loss"]
    for column, title in (*columns, ("train_lr", "Learning rate")):
        pairs = enumerate(zip(comparison.labels, comparison.runs, strict=True))
        yield line_chart(title, "epoch", [Line(label, run.series(column), i) for i, (label, run) in pairs])


def _compared(metric: Metric, values: Sequence[float | None]) -> Compared:
    """A metric, of which more is better; of losses less is."""
    known = [value for value in values if value is not None]
    best = (min if metric.name == "loss" else max)(known, default=None)
    texts = tuple("\u2013" if value is None else f"{value:.{metric.digits}f}" for value in values)
    return Compared(metric.title, texts, tuple(value is not None and value == best for value in values))


def _without_best(title: str, texts: tuple[str, ...]) -> Compared:
    return Compared(title, texts, (False,) * len(texts))


def _best_epoch(run: RunFiles) -> str:
    return str(run.best["epoch"]) if run.best else "\u2013"


def _epochs(run: RunFiles) -> str:
    return f"{len(run.epochs)} of {run.recipe.get('epochs', '?')}" if run.epochs else "\u2013"


def _time(run: RunFiles) -> str:
    seconds = run.summary.get("seconds") or run.setup.get("seconds")
    return clock(seconds) if seconds else "\u2013"


def _speed(run: RunFiles) -> str:
    speeds = run.series("images_per_second")
    return per_second(speeds[-1][1]) if speeds else "\u2013"

"""`report.html`: all that a run's folder holds on one page that opens anywhere, without a network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..progress import clock, per_second
from .class_tables import class_table
from .confusions import read_confusions
from .inlined_images import data_uri
from .line_charts import Chart, Line, line_chart
from .rendering import write_page
from .run_files import RunFiles, as_number, read_captions, read_run, read_table
from .settings import all_settings, departures

REPORT = "report.html"

# Together with tables of some 500 kB they stay below 3 MB, as text that takes four thirds of the bytes.
_MOST_MISTAKES = 16
_MISTAKE_SIDE, _MISTAKE_BYTES = 640, 55_000
_SHEET_SIDE, _SHEET_BYTES = 1400, 300_000

_SHEETS = {
    "train_batch.png": "The first training batch, as the network sees it",
    "predictions.png": "Predictions for validation images",
    "detections.png": "Detections in validation images",
}


class Figure(NamedTuple):
    """An image with what is written below it."""

    image: str  # a `data:` address
    caption: str
    file: str = ""  # that it is of


class Fact(NamedTuple):
    """A number that is worth large letters."""

    title: str
    value: str
    note: str = ""


def write_report(folder: Path, interrupted: bool = False) -> Path:
    """Write `report.html` into the folder of a run or an evaluation, from what else is in it; returns its path.

    A run that has no summary yet counts as going on, or as `interrupted`. Raises TwinsError for a folder that is no
    run's, for a damaged file in it, and where the report cannot be written.
    """
    from .. import __version__

    run = read_run(folder)
    classes = tuple(run.per_class.column("class")) if run.per_class.columns else ()
    write_page(
        folder / REPORT,
        "run.html",
        run=run,
        status=_status(run, interrupted),
        about=_about(run),
        facts=list(_facts(run)),
        charts=[chart for chart in _charts(run) if chart],
        table=class_table(run),
        confusions=read_confusions(folder / "confusion.csv", classes),
        mistakes=list(_mistakes(folder)),
        sheets=list(_sheets(run)),
        departures=departures(run.recipe),
        settings=all_settings(run.recipe),
        data=list(_data(run)),
        notes=[*run.setup.get("notes", ())],
        left_out=[*run.setup.get("left_out", ()), *run.summary.get("left_out", ())],
        speed=list(_speed(run)),
        versions=[(name, value) for name, value in run.ran_on.items() if name != "command" and value is not None],
        command=run.ran_on.get("command"),
        version=__version__,
    )
    return folder / REPORT


def _status(run: RunFiles, interrupted: bool) -> str:
    if run.evaluated:
        return "evaluation"
    done = f"{len(run.epochs)} of {run.recipe.get('epochs', '?')} epochs"
    if run.summary:
        return f"finished, {done}"
    return f"interrupted after {done}" if interrupted else f"going on, {done} done"


def _about(run: RunFiles) -> str:
    """What was trained or evaluated, in a line."""
    parts = [run.task, str(run.recipe.get("model", ""))]
    if head := run.recipe.get("detector") or run.recipe.get("head"):
        parts.append(str(head))
    if parameters := run.setup.get("parameters"):
        parts.append(f"{parameters / 1e6:.1f} M parameters")
    if classes := run.setup.get("classes"):
        parts.append(f"{classes} classes")
    return " \u00b7 ".join(parts)


def _facts(run: RunFiles) -> Iterator[Fact]:
    """The metrics of the evaluation or of the best epoch, and how long it all took."""
    results, best = run.results, run.best
    where = f"best, epoch {best['epoch']}" if best else ""
    for metric in run.metrics:
        if metric.name in results:
            yield Fact(metric.title, f"{results[metric.name]:.{metric.digits}f}", where)
            where = f"epoch {best['epoch']}" if best else ""
    if "images" in results:
        yield Fact("images", f"{results['images']:,.0f}", _part(run.setup.get("part", "")))
    seconds = run.summary.get("seconds") or run.setup.get("seconds")
    if seconds:
        yield Fact("time", clock(seconds))


def _part(name: str) -> str:
    """A part of the data in full."""
    return {"val": "validation", "train": "training"}.get(name, name)


def _charts(run: RunFiles) -> Iterator[Chart | None]:
    """Losses, metrics and the learning rate over the epochs; before the first is done, the loss over the updates."""
    best = (run.best["epoch"], f"the best, epoch {run.best['epoch']}") if run.best else None
    losses = [Line("training", run.series("train_loss"), 0), Line("validation", run.series("loss"), 1)]
    yield line_chart("Loss", "epoch", losses, best)
    metrics = [metric for metric in run.metrics if metric.name != "loss"]
    lines = [Line(metric.title, run.series(metric.name), colour) for colour, metric in enumerate(metrics)]
    yield line_chart("Validation metrics (%)", "epoch", lines, best) if run.epochs else None
    yield line_chart("Learning rate", "epoch", [Line("at the epoch\u2019s start", run.series("train_lr"))])
    if len(run.epochs) < 2:
        yield line_chart("Training loss, by update", "update", [Line("training", _losses_of_steps(run.folder))])
    yield _thresholds(run.folder)


def _losses_of_steps(folder: Path) -> list[tuple[float, float]]:
    """(update, loss) of steps.csv, the updates counted on from epoch to epoch."""
    table = read_table(folder / "steps.csv")
    if not {"epoch", "step", "train_loss"} <= set(table.columns):
        return []
    rows = [tuple(map(as_number, row)) for row in zip(*map(table.column, ("epoch", "step", "train_loss")), strict=True)]
    longest = max((step for _, step, _ in rows if step), default=0.0)
    return [(e * longest + s, loss) for e, s, loss in rows if e is not None and s is not None and loss is not None]


def _thresholds(folder: Path) -> Chart | None:
    """A detector's precision, recall and F1 over the score threshold."""
    table = read_table(folder / "thresholds.csv")
    if not table.rows:
        return None
    columns = {name: [as_number(cell) or 0.0 for cell in table.column(name)] for name in table.columns}
    x = columns.pop("threshold")
    lines = [Line(name, list(zip(x, y, strict=True)), colour) for colour, (name, y) in enumerate(columns.items())]
    f1 = max(columns["F1"])
    best = [threshold for threshold, value in zip(x, columns["F1"], strict=True) if value == f1]
    middle = best[len(best) // 2]  # as predictions are advised to take it
    return line_chart("Detections", "score threshold", lines, (middle, f"best F1 {f1:.2f}, at --conf {middle:.2f}"))


def _mistakes(folder: Path) -> Iterator[Figure]:
    """The worst ones, as the task wrote them."""
    for name, caption, file in read_captions(folder / "mistakes" / "captions.json")[:_MOST_MISTAKES]:
        image = data_uri(folder / "mistakes" / name, _MISTAKE_SIDE, _MISTAKE_BYTES)
        if image is not None:
            yield Figure(image, caption, file)


def _sheets(run: RunFiles) -> Iterator[Figure]:
    """Plots of many images; a classifier's predictions are its mistakes, which stand elsewhere."""
    for name, caption in _SHEETS.items():
        if name == "predictions.png" and run.task == "classify" and (run.folder / "mistakes").exists():
            continue
        image = data_uri(run.folder / name, _SHEET_SIDE, _SHEET_BYTES)
        if image is not None:
            yield Figure(image, caption, name)


def _data(run: RunFiles) -> Iterator[tuple[str, str]]:
    """Where the images are from, and how many there are."""
    yield "data", str(run.recipe.get("data", ""))
    for part, images in run.setup.get("images", {}).items():
        yield f"{_part(part)} images", f"{images:,}"
    if weights := run.setup.get("weights") or run.recipe.get("weights"):
        yield "weights", str(weights)


def _speed(run: RunFiles) -> Iterator[tuple[str, str]]:
    """Images a second, time and memory."""
    speeds = [y for _, y in run.series("images_per_second")]
    if speeds:
        yield "images a second, last epoch", per_second(speeds[-1])
        yield "images a second, fastest epoch", per_second(max(speeds))
        yield "an epoch, median", clock(sorted(y for _, y in run.series("time"))[len(run.epochs) // 2])
    seconds = run.summary.get("seconds") or run.setup.get("seconds")
    if seconds:
        yield "in all", clock(seconds)
    for name, megabytes in {**run.setup.get("peak_memory_mb", {}), **run.summary.get("peak_memory_mb", {})}.items():
        yield f"peak memory, {name}", f"{megabytes:,.0f} MB"
    for name in ("device", "backend"):
        if name in run.setup:
            yield name, str(run.setup[name])

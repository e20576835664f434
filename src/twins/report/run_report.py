"""`report.html`: all that a run's folder holds on one page that opens anywhere, without a network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..progress import clock, per_second
from .class_tables import class_table
from .confusions import read_confusions
from .curves import run_curves
from .inlined_images import data_uri
from .rendering import write_page
from .run_files import RunFiles, read_captions, read_run
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
        charts=run_curves(run),
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

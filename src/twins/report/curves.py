"""The curves of a run: what its tables hold by epoch, by update, and by score threshold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .line_charts import Chart, Line, line_chart
from .run_files import RunFiles, as_number, read_table


def run_curves(run: RunFiles) -> list[Chart]:
    """Losses, metrics and the learning rate by epoch; before the first is done, the loss by update.

    Of a detector also precision, recall and F1 by score threshold. Raises TwinsError for a damaged table.
    """
    return [chart for chart in (*_by_epoch(run), _by_update(run), _by_threshold(run.folder)) if chart]


def _by_epoch(run: RunFiles) -> Iterator[Chart | None]:
    """Losses, metrics and the learning rate, with the best epoch pointed out."""
    best = (run.best["epoch"], f"the best, epoch {run.best['epoch']}") if run.best else None
    losses = [Line("training", run.series("train_loss"), 0), Line("validation", run.series("loss"), 1)]
    yield line_chart("Loss", "epoch", losses, best)
    metrics = [metric for metric in run.metrics if metric.name != "loss"]
    lines = [Line(metric.title, run.series(metric.name), colour) for colour, metric in enumerate(metrics)]
    yield line_chart("Validation metrics (%)", "epoch", lines, best) if run.epochs else None
    yield line_chart("Learning rate", "epoch", [Line("at the epoch\u2019s start", run.series("train_lr"))])


def _by_update(run: RunFiles) -> Chart | None:
    """The training loss, while epochs say little."""
    if len(run.epochs) > 1:
        return None
    return line_chart("Training loss", "update", [Line("training", _losses_of_steps(run.folder))])


def _losses_of_steps(folder: Path) -> list[tuple[float, float]]:
    """(update, loss) of steps.csv, the updates counted on from epoch to epoch."""
    table = read_table(folder / "steps.csv")
    if not {"epoch", "step", "train_loss"} <= set(table.columns):
        return []
    rows = [tuple(map(as_number, row)) for row in zip(*map(table.column, ("epoch", "step", "train_loss")), strict=True)]
    longest = max((step for _, step, _ in rows if step), default=0.0)
    return [(e * longest + s, loss) for e, s, loss in rows if e is not None and s is not None and loss is not None]


def _by_threshold(folder: Path) -> Chart | None:
    """A detector's precision, recall and F1."""
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

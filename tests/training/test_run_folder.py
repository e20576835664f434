"""A run's folder: its name, what is in it, and that nothing else is written to."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure

from helpers.runs import StopAfter, log_of
from twins.errors import TwinsError
from twins.plots.curves import draw_curves
from twins.recipes import ClassifyRecipe
from twins.training.best_plots import BestPlots
from twins.training.loop import fit
from twins.training.run_folder import RunFolder, command_line, new_run_folder, newest_unfinished
from twins.training.trackers.tracking import Tracking


def test_a_run_leaves_everything_behind(tiny_recipe: ClassifyRecipe) -> None:
    data = sorted(Path(tiny_recipe.data).rglob("*"))
    outcome = fit(tiny_recipe)
    folder = outcome.folder
    assert folder == Path(tiny_recipe.output) / "classify" / "tiny"
    assert outcome.finished
    rows = log_of(folder)
    assert [row["epoch"] for row in rows] == [0, 1]
    needed = {"train_lr", "train_loss", "val_loss", "val_acc1", "val_acc5", "epoch", "n_parameters"}
    assert needed <= rows[0].keys()
    assert (folder / "metrics.csv").read_text().startswith("epoch,time,")
    for image in ("curves.png", "confusion.png", "predictions.png", "train_batch.png"):
        assert (folder / image).stat().st_size > 5000
    assert len(json.loads((folder / "split.json").read_text())["val"]) == 15
    written = json.loads((folder / "recipe.json").read_text())
    assert written["recipe"]["lr"] == 1e-3
    assert written["ran_on"]["torch"] == str(torch.__version__)
    assert json.loads((folder / "summary.json").read_text())["best"] == outcome.best
    assert sorted(Path(tiny_recipe.data).rglob("*")) == data  # which is never written to


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        (["/venv/bin/twins", "train", "--data", "my images"], "twins train --data 'my images'"),
        (["/src/twins/cli.py", "train"], "twins train"),
        (["/home/me/main.py", "--eval"], "python main.py --eval"),
        ([""], "python"),
        ([], "python"),
    ],
)
def test_command_line(argv: list[str], command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", argv)
    assert command_line() == command


@pytest.mark.usefixtures("without_plots")
def test_runs_are_never_written_over(tiny_recipe: ClassifyRecipe) -> None:
    short = tiny_recipe.replace(epochs=1, steps_per_epoch=1)
    assert [fit(short).folder.name for _ in range(3)] == ["tiny", "tiny2", "tiny3"]
    again = fit(short.replace(exist_ok=True)).folder
    assert again.name == "tiny"
    assert len((again / "log.txt").read_text().splitlines()) == 1
    assert len(list(again.glob("log-*.txt"))) == 1  # what was there is put aside


@pytest.mark.usefixtures("without_plots")
def test_newest_unfinished_run(tiny_recipe: ClassifyRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    assert newest_unfinished(tiny_recipe) is None
    fit(tiny_recipe.replace(epochs=1, steps_per_epoch=1))
    assert newest_unfinished(tiny_recipe) is None
    StopAfter(monkeypatch, 1, 0)
    stopped = fit(tiny_recipe).folder
    assert newest_unfinished(tiny_recipe) == stopped
    assert new_run_folder(tiny_recipe).name == "tiny3"


def test_unwritable_output(tiny_recipe: ClassifyRecipe, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TwinsError, match="cannot write there .* choose another --output"):
        fit(tiny_recipe.replace(output=str(tmp_path / "file")))


def test_a_table_of_an_earlier_version_goes_on_under_the_new_names(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text('{"epoch": 0, "time": 2.5, "test_acc1": 50.0}\n')
    (tmp_path / "metrics.csv").write_bytes(b"epoch,time,test_acc1\r\n0,2.5,50.0\r\n")
    folder = RunFolder(tmp_path)
    folder.create(afresh=False)
    folder.log({"epoch": 1, "val_acc1": 75.0, "time": 2.25})
    with (tmp_path / "metrics.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [
            {"epoch": "0", "time": "2.5", "val_acc1": "50.0"}, {"epoch": "1", "time": "2.25", "val_acc1": "75.0"}
        ]  # fmt: skip


def test_curves_name_the_best_epoch_by_the_metric_that_decides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever the order of columns, and under either name of a logged metric."""
    titles: list[str] = []
    monkeypatch.setattr(Figure, "suptitle", lambda figure, title, **style: titles.append(title))
    common = {"train_lr": 1e-3, "train_loss": 2.0}
    history = [
        {"epoch": 3, "test_macc": 60.0, "test_miou": 30.5, **common},
        {"epoch": 4, "val_macc": 70.0, "val_miou": 20.5, **common},
    ]
    draw_curves(history, [("macc", "mAcc", 2), ("miou", "mIoU", 2)], "miou", tmp_path / "curves.png")
    assert titles == ["best mIoU 30.50 % in epoch 3"]


def test_curves_of_a_short_run_have_whole_epochs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **style: figures.append(figure))
    history = [
        {"epoch": epoch, "val_acc1": 60.0, "val_loss": 1.0, "train_lr": 1e-3, "train_loss": 2.0} for epoch in (0, 1)
    ]
    draw_curves(history, [("acc1", "Acc@1", 2)], "acc1", tmp_path / "curves.png", "training, of mixed images")
    losses, *others = figures[0].axes
    for axes in (losses, *others):
        assert all(tick == round(tick) for tick in axes.get_xticks())
    legend = losses.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["training, of mixed images", "validation"]


class Drawn:
    """A task that has been evaluated, and counts what it draws."""

    plots = ()

    def __init__(self, drawn: list[float]) -> None:
        self.metric, self.drawn = 0.0, drawn

    def draw(self, folder: Path) -> None:
        self.drawn.append(self.metric)

    def findings(self) -> list[str]:
        return [f"the best is {self.metric}"]


def test_plots_are_drawn_of_the_best_epoch_and_not_twice_a_minute(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    drawn: list[float] = []
    task: Any = Drawn(drawn)
    folder = RunFolder(tmp_path)
    plots = BestPlots(folder, Tracking({}, folder))
    for metric in (1.0, 2.0, 3.0):
        task.metric = metric
        plots.of_better_epoch(task, step=0)
    task.metric = 2.5  # a worse epoch
    assert drawn == [1.0]
    plots.draw()
    plots.draw()
    assert (drawn, plots.findings) == ([1.0, 3.0], ["the best is 3.0"])
    now += 60
    task.metric = 4.0
    plots.of_better_epoch(task, step=0)
    assert drawn == [1.0, 3.0, 4.0]
    other = RunFolder(tmp_path, main=False)
    BestPlots(other, Tracking({}, other)).of_better_epoch(task, step=0)  # another rank's
    assert drawn == [1.0, 3.0, 4.0]

"""Reports that training and evaluation leave."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from helpers.runs import StopAfter
from twins.recipes import ClassifyRecipe, DetectRecipe, Recipe, SegmentRecipe
from twins.report.run_report import write_report
from twins.training import report_writing
from twins.training.evaluation import evaluate_checkpoint, recipe_of_checkpoint
from twins.training.loop import fit
from twins.training.report_writing import ReportWriter
from twins.training.run_folder import RunFolder


def text_of(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(params=["classify", "segment", "detect"])
def recipe(
    request: pytest.FixtureRequest,
    tiny_recipe: ClassifyRecipe,
    tiny_segment_recipe: SegmentRecipe,
    tiny_detect_recipe: DetectRecipe,
) -> Recipe:
    recipes = {"classify": tiny_recipe, "segment": tiny_segment_recipe, "detect": tiny_detect_recipe}
    return recipes[request.param].replace(epochs=1)


def test_a_run_and_its_evaluation_leave_reports(recipe: Recipe) -> None:
    folder = fit(recipe).folder
    text = text_of(folder)
    setup = json.loads((folder / "setup.json").read_text())
    assert setup["metrics"][0][0] == {"classify": "acc1", "segment": "miou", "detect": "ap"}[recipe.task]
    training, validation = {"classify": (36, 15), "segment": (12, 5), "detect": (12, 6)}[recipe.task]
    assert setup["images"] == {"training": training, "validation": validation}
    assert "finished, 1 of 1 epochs" in text
    for heading in ("Curves", "Classes", "What is taken for what", "The worst mistakes", "Images", "Data", "Settings"):
        assert f"<h2>{heading}</h2>" in text
    captions = json.loads((folder / "mistakes" / "captions.json").read_text())
    assert len(captions) == len(list((folder / "mistakes").glob("*.png")))
    assert captions[0]["caption"] in text
    checkpoint = folder / "checkpoint_best.pth"
    changes = {"output": str(folder.parent.parent), "device": "cpu", "workers": 0}
    evaluate_checkpoint(recipe_of_checkpoint(checkpoint, changes=changes), checkpoint)
    text = text_of(folder.with_name("tiny-eval"))
    assert ">evaluation<" in text
    assert str(checkpoint) in text
    assert "<h2>The worst mistakes</h2>" in text


def test_a_segmenters_mistakes_are_listed(tiny_segment_recipe: SegmentRecipe) -> None:
    folder = fit(tiny_segment_recipe.replace(epochs=1)).folder
    with (folder / "mistakes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    shares = [float(row["wrong (%)"]) for row in rows]
    assert shares == sorted(shares, reverse=True)
    with (folder / "confusion.csv").open(newline="") as file:
        confusion = list(csv.DictReader(file))
    right = sum(int(row["pixels"]) for row in confusion if row["truth"] == row["predicted"])
    accuracy = json.loads((folder / "log.txt").read_text())["val_aacc"]
    assert 100 * right / sum(int(row["pixels"]) for row in confusion) == pytest.approx(accuracy)


@pytest.mark.usefixtures("without_plots")
def test_an_interrupted_run_says_so(tiny_recipe: ClassifyRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_writing, "write_report", write_report)
    stop = StopAfter(monkeypatch, 1, 0)
    folder = fit(tiny_recipe).folder
    assert "interrupted after 1 of 2 epochs" in text_of(folder)
    stop.undo()
    fit(tiny_recipe, folder, resume=folder / "checkpoint.pth")
    assert "finished, 2 of 2 epochs" in text_of(folder)


@pytest.mark.usefixtures("without_plots")
def test_a_report_that_cannot_be_written_stops_nothing(
    tiny_recipe: ClassifyRecipe, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(folder: Path, interrupted: bool) -> Path:
        raise OSError("disk full")

    monkeypatch.setattr(report_writing, "write_report", fails)
    monkeypatch.setattr(report_writing, "AT_MOST_EVERY", 0)
    outcome = fit(tiny_recipe)
    assert outcome.finished
    printed = capsys.readouterr().out
    assert printed.count("report.html: not written (OSError: disk full)") == 1
    look = next(line for line in printed.splitlines() if line.startswith("look"))
    assert "report.html" not in look


def test_reports_while_a_run_lasts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    now = [0.0]
    monkeypatch.setattr(report_writing, "write_report", lambda folder, interrupted: written.append(now[0]))
    monkeypatch.setattr(report_writing.time, "monotonic", lambda: now[0])
    writer = ReportWriter(RunFolder(tmp_path))
    for now[0] in range(10, 200, 10):
        writer.after_epoch()
    assert written == [60, 120, 180]


def test_other_ranks_write_none(tmp_path: Path) -> None:
    assert not ReportWriter(RunFolder(tmp_path, main=False)).write()
    assert list(tmp_path.iterdir()) == []


def test_results_of_an_earlier_run_in_the_folder_are_removed(tmp_path: Path) -> None:
    for name in ("metrics.json", "per_class.csv", "checkpoint.pth"):
        (tmp_path / name).touch()
    RunFolder(tmp_path).create(afresh=False)
    assert (tmp_path / "metrics.json").exists()
    RunFolder(tmp_path).create(afresh=True)
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix in (".json", ".pth")) == ["checkpoint.pth"]

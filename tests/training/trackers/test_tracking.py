"""What every tracker is sent, and that none stops a run."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from helpers.command_line import refusal
from helpers.runs import StopAfter, assert_same, log_of, weights_of
from twins.cli import parse
from twins.errors import TwinsError
from twins.recipes import ClassifyRecipe, DetectRecipe, Recipe, SegmentRecipe
from twins.training.loop import fit
from twins.training.run_folder import RunFolder
from twins.training.trackers import tracking
from twins.training.trackers.base import Status, TrackedRun, Tracker
from twins.training.trackers.tracking import CLASSES, Tracking


class Recorder(Tracker):
    """Keeps what it is sent, and fails where it is asked to."""

    notice = "kept in memory"

    def __init__(self, fails_at: str = "") -> None:
        self.fails_at = fails_at
        self.runs: list[TrackedRun] = []
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.images: list[tuple[int, str]] = []
        self.ends: list[Status] = []

    def start(self, run: TrackedRun) -> str:
        self._fail("start")
        self.runs.append(run)
        return "its own id"

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._fail("log")
        self.rows.append((step, dict(metrics)))

    def image(self, step: int, name: str, path: Path) -> None:
        self._fail("image")
        assert path.is_file()
        self.images.append((step, name))

    def finish(self, status: Status) -> None:
        self._fail("finish")
        self.ends.append(status)

    def _fail(self, method: str) -> None:
        if method == self.fails_at:
            raise OSError(f"no space left for {method}\nsecond line")


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """What a run sends to the trackers of its recipe."""
    recorder = Recorder()
    monkeypatch.setattr("twins.training.setup.make_trackers", lambda names: dict.fromkeys(names, recorder))
    return recorder


@pytest.mark.usefixtures("without_plots")
def test_metrics_are_sent_by_update_and_by_epoch(tiny_recipe: ClassifyRecipe, recorder: Recorder) -> None:
    recipe = tiny_recipe.replace(track=("wandb",), log_interval=4)
    folder = fit(recipe).folder
    run = recorder.runs[0]
    assert (run.name, run.folder, run.step, run.id) == ("tiny", folder, 0, None)
    assert run.recipe["lr"] == 1e-3
    assert [step for step, _ in recorder.rows] == [4, 6, 10, 12]  # of six updates an epoch
    first, last = log_of(folder)
    assert recorder.rows[1][1] == {
        **{"train/lr": first["train_lr"], "train/loss": first["train_loss"], "val/acc1": first["val_acc1"]},
        **{"val/acc5": first["val_acc5"], "val/loss": first["val_loss"], "val/images": first["val_images"]},
        **{"epoch": 0, "run/seconds": first["time"], "run/images_per_second": first["images_per_second"]},
    }
    assert recorder.rows[2][1].keys() == {"steps/train_loss", "steps/train_lr", "steps/images_per_second"}
    assert recorder.rows[3][1]["train/loss"] == last["train_loss"]
    assert recorder.ends == ["finished"]
    assert json.loads((folder / "trackers.json").read_text()) == {"wandb": "its own id"}


@pytest.mark.usefixtures("without_plots")
def test_a_resumed_run_goes_on_under_its_id(
    tiny_recipe: ClassifyRecipe, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny_recipe.replace(track=("wandb",))
    stop = StopAfter(monkeypatch, 1, 2)
    folder = fit(recipe).folder
    stop.undo()
    fit(recipe, folder=folder, resume=folder / "checkpoint.pth")
    assert [(run.step, run.id) for run in recorder.runs] == [(0, None), (9, "its own id")]
    assert recorder.ends == ["interrupted", "finished"]
    fit(recipe.replace(exist_ok=True))  # a new run in the same folder
    assert recorder.runs[2].id is None


@pytest.mark.parametrize(
    ("task", "plots"),
    [
        ("tiny_recipe", ["confusion", "predictions"]),
        ("tiny_segment_recipe", ["predictions", "iou"]),
        ("tiny_detect_recipe", ["detections", "ap", "mistakes", "confusion", "thresholds"]),
    ],
)
def test_every_task_sends_its_plots(
    task: str, plots: list[str], recorder: Recorder, request: pytest.FixtureRequest
) -> None:
    recipe: ClassifyRecipe | SegmentRecipe | DetectRecipe = request.getfixturevalue(task)
    folder = fit(recipe.replace(track=("tensorboard",), epochs=1, steps_per_epoch=1)).folder
    sent = [*recorder.images]
    assert sent[0] == (0, "plots/train_batch")
    assert [name for step, name in sent[1:] if step == 1] == [f"plots/{plot}" for plot in plots]
    assert all((folder / f"{plot}.png").is_file() for plot in plots)


@pytest.mark.usefixtures("without_plots")
@pytest.mark.parametrize("method", ["start", "log", "finish"])
def test_a_tracker_that_fails_is_left_out_in_one_line(
    method: str, tiny_recipe: ClassifyRecipe, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing, sound = Recorder(fails_at=method), Recorder()
    monkeypatch.setattr("twins.training.setup.make_trackers", lambda names: {"mlflow": failing, "wandb": sound})
    outcome = fit(tiny_recipe.replace(track=("mlflow", "wandb")))
    assert outcome.finished
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("mlflow failed")]
    assert lines == [f"mlflow failed and is left out from here on: no space left for {method}"]
    assert failing.ends == []
    assert (len(sound.rows), sound.ends) == (2, ["finished"])


@pytest.mark.usefixtures("without_plots")
def test_a_run_that_fails_is_told_so(tiny_recipe: ClassifyRecipe, recorder: Recorder) -> None:
    with pytest.raises(TwinsError, match="not finite"):
        fit(tiny_recipe.replace(track=("wandb",), lr=1e30, clip_grad=None, warmup_epochs=0))
    assert recorder.ends == ["failed"]


@pytest.mark.usefixtures("without_plots")
def test_what_is_learnt_does_not_depend_on_trackers(tiny_recipe: ClassifyRecipe) -> None:
    pytest.importorskip("tensorboard")
    plain = fit(tiny_recipe.replace(drop_path=0.3)).folder
    tracked = fit(tiny_recipe.replace(drop_path=0.3, track=("tensorboard",))).folder
    assert_same(weights_of(plain), weights_of(tracked))


def test_ranks_other_than_the_main_process_send_nothing(tmp_path: Path) -> None:
    recorder = Recorder()
    other = Tracking({"wandb": recorder}, RunFolder(tmp_path, main=False))
    other.start(Recipe(), 0, afresh=True)
    other.log(1, {"train/loss": 1.0})
    other.finish("finished")
    assert (recorder.runs, recorder.rows, recorder.ends) == ([], [], [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", CLASSES)
def test_a_missing_package_is_named_before_data_is_read(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    error = refusal(capsys, "train", "--data", str(tmp_path / "none"), "--track", name, "--output", str(tmp_path))
    assert error == f'twins: {name} is not installed; run: pip install "twins-vit[{name}]"'
    assert list(tmp_path.iterdir()) == []


def test_the_flag_and_the_field_take_the_same_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse(["train", "--track", "tensorboard", "mlflow"]).changes == {"track": ("tensorboard", "mlflow")}
    assert parse(["train", "--track", "none"]).changes == {"track": None}
    assert tracking.make_trackers(None) == {}
    assert "invalid choice: 'wanbd' (did you mean wandb?)" in refusal(capsys, "train", "--track", "wanbd")
    with pytest.raises(TwinsError, match="--track must be one of tensorboard, wandb, mlflow, trackio, not 'comet'"):
        Recipe(track=("wandb", "comet"))
    assert tuple(CLASSES) == Recipe.__dataclass_fields__["track"].metadata["choices"]
    assert Recipe.from_dict({"track": ["wandb"]}, "recipe.json").track == ("wandb",)


def test_ids_that_are_damaged_are_named(tmp_path: Path) -> None:
    (tmp_path / "trackers.json").write_text("[")
    recorder: Any = Recorder()
    with pytest.raises(TwinsError, match="trackers.json"):
        Tracking({"wandb": recorder}, RunFolder(tmp_path)).start(Recipe(), 9, afresh=False)

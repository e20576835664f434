"""Each tracker with its real package, offline: a run that is stopped and goes on, read back as its own users would."""

from __future__ import annotations

import json
import os
import sqlite3
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from helpers.runs import StopAfter, log_of
from twins.recipes import ClassifyRecipe
from twins.tasks.classify import Classification
from twins.training.loop import fit
from twins.training.trackers.base import TrackedRun
from twins.training.trackers.tracking import make_trackers

METRICS = {"train/loss", "val/acc1", "epoch", "steps/train_loss"}


@pytest.fixture(autouse=True)
def own_environment() -> Iterator[None]:
    """Without what the user has configured; what trackers set is gone afterwards."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "MLFLOW_", "TRACKIO_"))}
    with patch.dict(os.environ, kept, clear=True):
        yield


@pytest.fixture
def small_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of one pixel in place of plots, which take longer than all else."""
    from PIL import Image

    def draw(self: Classification, folder: Path) -> None:
        Image.new("RGB", (1, 1), (200, 0, 0)).save(folder / "confusion.png")

    monkeypatch.setattr(Classification, "draw", draw)
    monkeypatch.setattr(Classification, "draw_batch", lambda *_: None)


def run_in_two_parts(
    recipe: ClassifyRecipe, name: str, monkeypatch: pytest.MonkeyPatch, between: Callable[[], None] = lambda: None
) -> Path:
    """Two epochs of six updates, stopped in the second and resumed with another --patience; its folder."""
    recipe = recipe.replace(track=(name,), log_interval=6)
    stop = StopAfter(monkeypatch, 1, 2)
    folder = fit(recipe).folder
    stop.undo()
    between()
    assert fit(recipe.replace(patience=5), folder=folder, resume=folder / "checkpoint.pth").finished
    assert "failed" not in (folder / "console.txt").read_text()
    return folder


@pytest.mark.usefixtures("small_plots")
def test_tensorboard(tiny_recipe: ClassifyRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    folder = run_in_two_parts(tiny_recipe, "tensorboard", monkeypatch)
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    assert set(events.Tags()["scalars"]) >= METRICS
    accuracies = [(event.step, event.value) for event in events.Scalars("val/acc1")]
    assert accuracies == [
        (step, pytest.approx(row["val_acc1"])) for step, row in zip((6, 12), log_of(folder), strict=True)
    ]
    assert [event.step for event in events.Scalars("steps/train_loss")] == [6, 12]
    image = events.Images("plots/confusion")[0]
    assert (image.step, image.width, image.height) == (6, 1, 1)
    settings = HParamsPluginData.FromString(events.PluginTagToContent("hparams")["_hparams_/session_start_info"])
    hparams = settings.session_start_info.hparams
    assert (hparams["model"].string_value, hparams["lr"].number_value) == ("twins_svt_small", 1e-3)
    assert f"tensorboard: tensorboard --logdir {folder / 'tensorboard'}" in (folder / "console.txt").read_text()


def test_tensorboard_hides_what_a_crashed_run_logged_later(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for start, values in ((0, {6: 1.0, 12: 2.0}), (6, {12: 3.0})):
        tracker = make_trackers(["tensorboard"])["tensorboard"]
        tracker.start(TrackedRun("a", tmp_path, {}, step=start, id="tensorboard" if start else None))
        for step, value in values.items():
            tracker.log(step, {"val/acc1": value})
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("val/acc1")] == [(6, 1.0), (12, 3.0)]


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """The package, to which nobody has logged in."""
    package = pytest.importorskip("wandb")
    for variable in ("HOME", "NETRC", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    yield package
    package.teardown()


def test_wandb_does_not_ask_for_a_login(wandb: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked"))
    tracker = make_trackers(["wandb"])["wandb"]
    tracker.start(TrackedRun("a", tmp_path, {}))
    assert tracker.notice.startswith("not logged in (`wandb login` does), so offline; wandb sync ")
    tracker.finish("finished")
    assert len(list(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))) == 1


@pytest.mark.usefixtures("small_plots")
def test_wandb_without_a_login_stays_offline(
    wandb: Any, tiny_recipe: ClassifyRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its service writes all out when its process ends; before, it may lose a run of an id that it has just closed.
    folder = run_in_two_parts(tiny_recipe, "wandb", monkeypatch, between=wandb.teardown)
    wandb.teardown()
    parts = sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))
    known = json.loads((folder / "trackers.json").read_text())["wandb"]
    assert {part.name for part in parts} == {f"run-{known}.wandb"}
    records = [record for part in parts for record in wandb_records(part)]
    rows = [json_of(record.history.item) for record in records if record.HasField("history")]
    accuracies = [(row["update"], row["val/acc1"]) for row in rows if "val/acc1" in row]
    assert accuracies == [(step, row["val_acc1"]) for step, row in zip((6, 12), log_of(folder), strict=True)]
    plots = [row for row in rows if "plots/confusion._type" in row or "plots/confusion" in row]
    assert next(row["update"] for row in plots) == 6
    settings = json_of(update for record in records if record.HasField("run") for update in record.run.config.update)
    assert (settings["model"], settings["lr"], settings["patience"]) == ("twins_svt_small", 1e-3, 5)
    assert [record.exit.exit_code for record in records if record.HasField("exit")] == [130, 0]
    assert "wandb: not logged in (`wandb login` does), so offline; wandb sync" in (folder / "console.txt").read_text()
    assert os.environ["WANDB_ERROR_REPORTING"] == "false"


def wandb_records(path: Path) -> Iterator[Any]:
    """What an offline run holds: a header of 7 bytes, then records in LevelDB's log format."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, position, record = path.read_bytes(), 7, b""
    while position < len(data):
        left = 32768 - position % 32768
        if left < 7:  # a block's rest too small for a record's header
            position += left
            continue
        length, kind = struct.unpack_from("<HB", data, position + 4)
        record += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(record)
            record = b""


def json_of(items: Any) -> dict[str, Any]:
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


@pytest.mark.usefixtures("small_plots")
def test_mlflow_in_files(tiny_recipe: ClassifyRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    folder = run_in_two_parts(tiny_recipe, "mlflow", monkeypatch)
    client = mlflow.MlflowClient(tracking_uri=(folder / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("twins").experiment_id
    (run,) = client.search_runs([experiment])
    assert (run.info.run_name, run.info.status) == ("tiny", "FINISHED")
    assert (run.data.params["model"], run.data.params["lr"]) == ("twins_svt_small", "0.001")
    assert (run.data.params["patience"], run.data.tags["resumed.patience"]) == ("None", "5")
    history = [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, "val/acc1")]
    assert history == [(step, row["val_acc1"]) for step, row in zip((6, 12), log_of(folder), strict=True)]
    assert run.data.metrics.keys() >= METRICS
    assert [plot.path for plot in client.list_artifacts(run.info.run_id, "plots")] == ["plots/confusion.png"]
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


@pytest.mark.usefixtures("small_plots")
def test_mlflow_says_how_an_interrupted_run_ended(tiny_recipe: ClassifyRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    store = (Path(tiny_recipe.output) / "shared").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "ants")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    StopAfter(monkeypatch, 0, 2)
    folder = fit(tiny_recipe.replace(track=("mlflow",))).folder
    client = mlflow.MlflowClient(tracking_uri=store)
    (run,) = client.search_runs([client.get_experiment_by_name("ants").experiment_id])
    assert run.info.status == "KILLED"
    assert not (folder / "mlruns").exists()


@pytest.mark.usefixtures("small_plots")
def test_trackio(tiny_recipe: ClassifyRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    if find_spec("trackio") is None:
        pytest.skip("trackio is not installed")
    for module in [name for name in sys.modules if name.partition(".")[0] == "trackio"]:
        monkeypatch.delitem(sys.modules, module)  # it looks for its folder when it is imported
    folder = run_in_two_parts(tiny_recipe, "trackio", monkeypatch)
    import trackio

    (run,) = trackio.Api().runs("twins")
    assert (run.name, run.config["model"], run.config["lr"]) == ("tiny", "twins_svt_small", 1e-3)
    with closing(sqlite3.connect(folder / "trackio" / "twins.db")) as database:
        rows = [(step, json.loads(metrics)) for step, metrics in database.execute("select step, metrics from metrics")]
    accuracies = [(step, row["val/acc1"]) for step, row in rows if "val/acc1" in row]
    assert accuracies == [(step, row["val_acc1"]) for step, row in zip((6, 12), log_of(folder), strict=True)]
    assert [step for step, row in rows if "steps/train_loss" in row] == [6, 12]
    image = next(row["plots/confusion"]["file_path"] for step, row in rows if "plots/confusion" in row)
    assert (folder / "trackio" / "media" / image).is_file()
    assert f"TRACKIO_DIR={folder / 'trackio'} trackio show --project twins" in (folder / "console.txt").read_text()

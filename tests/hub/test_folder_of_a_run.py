"""A trained network as a folder: what is known of its run, and the commands that take the folder as a checkpoint."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard

import twins
from helpers.runs import leave_plots_out, log_of, weights_of
from helpers.tiny import TINY, TINY_RUN, make_images
from twins.checkpoints.info import read_info
from twins.cli import main
from twins.hub.saving import save_hub_folder
from twins.recipes import ClassifyRecipe
from twins.training.loop import fit


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two epochs with a moving average, on three classes."""
    root = tmp_path_factory.mktemp("run")
    images = make_images(root / "images", {"ant": 0, "bee": 120, "cat": 240}, train=6, val=4)
    recipe = ClassifyRecipe(
        model_kwargs=TINY, data=str(images), output=str(root / "runs"), img_size=32, batch_size=6, **TINY_RUN
    )
    with pytest.MonkeyPatch.context() as patch:
        leave_plots_out(patch.setattr)
        return fit(recipe.replace(model_ema=True, model_ema_decay=0.5)).folder


def metric_of_card(folder: Path) -> Any:
    (result, *_) = ModelCard.load(folder / "README.md").data.eval_results
    return result


@pytest.mark.parametrize("name", ["checkpoint.pth", "checkpoint_best.pth"])
def test_weights_and_metrics_are_those_of_the_checkpoints_epoch(run: Path, name: str, tmp_path: Path):
    said = save_hub_folder(run / name, tmp_path / "net", license="mit")
    epoch = read_info(run / name).checkpoint["epoch"]
    result, card = metric_of_card(tmp_path / "net"), (tmp_path / "net/README.md").read_text()
    assert (result.metric_type, result.metric_name) == ("accuracy", "Acc@1 (%)")
    assert result.metric_value == pytest.approx(log_of(run)[epoch]["val_acc1"], abs=1e-3)
    assert (result.dataset_name, result.dataset_split) == ("images", "validation")
    assert f"Measured by the training run at the end of epoch {epoch}, on 12 validation images of images." in card
    assert "| epochs | 2 |" in card
    assert [line.split()[0] for line in said] == ["wrote", "timm's"]  # metrics and license are known
    average, info = weights_of(run, name, "model_ema"), read_info(tmp_path / "net")
    assert all(torch.equal(average[key], tensor) for key, tensor in info.checkpoint["model"].items())
    assert (info.has_ema, info.classes) == (False, ("ant", "bee", "cat"))


def test_nothing_of_this_machine_is_published(run: Path, tmp_path: Path):
    save_hub_folder(run / "checkpoint.pth", tmp_path / "net")
    text = (tmp_path / "net/config.json").read_text() + (tmp_path / "net/README.md").read_text()
    assert str(run.parents[2]) not in text
    assert "00.png" not in text
    recipe = json.loads((tmp_path / "net/config.json").read_text())["twins"]["meta"]["recipe"]
    assert (recipe["data"], recipe["epochs"], recipe["img_size"]) == ("images", 2, 32)


def test_without_the_log_a_checkpoint_knows_its_best_epoch(run: Path, tmp_path: Path):
    shutil.copy(run / "checkpoint_best.pth", tmp_path)
    save_hub_folder(tmp_path / "checkpoint_best.pth", tmp_path / "net")
    best = json.loads((run / "summary.json").read_text())["best"]["value"]
    assert metric_of_card(tmp_path / "net").metric_value == pytest.approx(best, abs=1e-3)
    save_hub_folder(tmp_path / "net", tmp_path / "copy")  # what was known stays known
    assert metric_of_card(tmp_path / "copy").metric_value == pytest.approx(best, abs=1e-3)


def test_an_interrupted_epoch_has_no_metrics(run: Path, tmp_path: Path):
    content = torch.load(run / "checkpoint.pth", weights_only=True)
    torch.save({**content, "step": 1}, tmp_path / "checkpoint.pth")
    shutil.copy(run / "log.txt", tmp_path)
    said = save_hub_folder(tmp_path / "checkpoint.pth", tmp_path / "net")
    assert any(line.startswith("no validation metrics are known") for line in said)


def test_commands_take_the_folder_as_a_checkpoint(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    leave_plots_out(monkeypatch.setattr)
    save_hub_folder(run / "checkpoint.pth", "net")
    images = run.parents[2] / "images"
    assert main(["eval", "--weights", "net", "--data", str(images)]) == 0
    metrics = json.loads((tmp_path / "runs/classify/net-eval/metrics.json").read_text())
    assert metrics["acc1"] == log_of(run)[-1]["val_acc1"]
    assert main(["predict", "--weights", "net", str(images / "val/ant/00.png"), "--no-draw", "--out", "out"]) == 0
    predicted = twins.load(run / "checkpoint.pth")(images / "val/ant/00.png")
    assert f"00.png: {predicted}" in capsys.readouterr().out
    flags = ["--name=again", "--epochs=1", "--warmup-epochs=0", "--batch-size=6", "--workers=0", "--img-size=32"]
    assert main(["train", "--weights", "net", "--data", str(images), *flags]) == 0
    assert "matched, 0 reshaped, 0 missing" in capsys.readouterr().out

"""The command `twins`: what works, and one line with exit status 2 for what does not."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import twins
from helpers.command_line import refusal
from helpers.tiny import TINY, make_images
from twins.cli import main
from twins.flops import Flops
from twins.recipes import ClassifyRecipe
from twins.training.loop import fit

TINY_FLAGS = ["--model-kwargs", *(f"{key}={','.join(map(str, value))}" for key, value in TINY.items())]
QUICK = [*TINY_FLAGS, "--img-size", "32", "--epochs", "1", "--batch-size", "6", "--workers", "0", "--device", "cpu"]


def test_train_eval_and_resume(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = str(tmp_path / "runs")
    assert main(["train", "--data", str(images), "--output", runs, "--name", "mine", *QUICK]) == 0
    folder = tmp_path / "runs" / "classify" / "mine"
    capsys.readouterr()
    assert main(["eval", "--weights", str(folder / "checkpoint.pth"), "--output", runs]) == 0
    log = json.loads((folder / "log.txt").read_text())
    metrics = json.loads((tmp_path / "runs" / "classify" / "eval" / "metrics.json").read_text())
    assert metrics["loss"] == pytest.approx(log["val_loss"], rel=1e-6)
    assert f"Acc@1 {log['val_acc1']:.2f}  Acc@5 100.00" in capsys.readouterr().out
    assert main(["train", "--resume", str(folder / "checkpoint.pth"), "--epochs", "2"]) == 0
    assert len((folder / "log.txt").read_text().splitlines()) == 2
    assert main(["train", "--resume", "--data", str(images), "--output", runs, "--name", "mine", *QUICK]) == 0
    assert (tmp_path / "runs" / "classify" / "mine2").is_dir()  # nothing unfinished, so a new one


def test_eval_takes_the_classes_from_the_checkpoint(images: Path, tmp_path: Path) -> None:
    """A folder with two of three classes, in which labels would count differently."""
    recipe = ClassifyRecipe(model_kwargs=TINY, data=str(images), output=str(tmp_path), img_size=32, epochs=8, lr=5e-3,
                            batch_size=6, warmup_epochs=0, workers=0, color_jitter=None)  # fmt: skip
    outcome = fit(recipe)
    assert outcome.best["value"] == 100.0
    two = make_images(tmp_path / "two", {"bee": 120, "cat": 240}, val=4)
    best = str(outcome.folder / "checkpoint_best.pth")
    assert main(["eval", "--weights", best, "--data", str(two), "--output", str(tmp_path)]) == 0
    metrics = json.loads((tmp_path / "classify" / "eval" / "metrics.json").read_text())
    assert (metrics["acc1"], metrics["images"]) == (100.0, 8)


def test_eval_guesses_the_network_of_bare_weights(tmp_path: Path, images: Path) -> None:
    torch.save(twins.create_model("twins_pcpvt_small", num_classes=3).state_dict(), tmp_path / "bare.pth")
    argv = ["--weights", str(tmp_path / "bare.pth"), "--data", str(images), "--output", str(tmp_path)]
    assert main(["eval", *argv, "--img-size", "64", "--device", "cpu", "--workers", "0"]) == 0
    assert json.loads((tmp_path / "classify" / "eval" / "metrics.json").read_text())["images"] == 15


def test_print_lr(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--recipe", "twins_svt_small", "--print-lr"]) == 0
    rates = json.loads(capsys.readouterr().out)
    assert len(rates) == 300
    assert rates[2] == pytest.approx(4.008e-4, rel=1e-9)
    assert rates[100] == pytest.approx(1e-5 + (2e-3 - 1e-5) * (1 + math.cos(math.pi * 99 / 300)) / 2, rel=1e-12)


def test_info_shows_live_counts_beside_published_ones(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["info", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["twins_svt_large"]["params"] == 99_271_400
    assert rows["twins_svt_large"]["top1_published"] == 83.7
    assert round(rows["twins_pcpvt_small"]["gflops_fvcore"], 3) == 3.827
    monkeypatch.setattr("twins.commands.info.count_flops", lambda *_: Flops(1, 1, 1))  # counted once will do
    assert main(["info"]) == 0
    assert "24,060,776" in capsys.readouterr().out


@pytest.mark.parametrize("command", [[], ["train"], ["eval"], ["info"]])
def test_help_is_there(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: twins")
    if command == ["train"]:
        assert "--mixup" in shown
        assert "(default: 0.05)" in shown


@pytest.mark.parametrize(("argv", "message"), [
    (["train", "--epoch", "3"], "unknown argument --epoch (did you mean --epochs"),
    (["train", "--epochs", "many"], "argument --epochs: invalid int value: 'many'"),
    (["train", "--sched", "cosin"], "invalid choice: 'cosin'"),
    (["train", "--recipe", "twins_svt_samll"], "unknown recipe 'twins_svt_samll' (did you mean twins_svt_small"),
    (["train", "--model", "alt_gvt_smal"], "unknown model 'alt_gvt_smal' (did you mean alt_gvt_small"),
    (["train", "--model-kwargs", "depths"], "'depths' is not KEY=VALUE"),
    (["train", "--model-kwargs", "depths=2,2"], "depths must be four positive numbers"),
    (["train", "--model-kwargs", "depth=2,2,4,2"], "no such setting 'depth' (did you mean depths"),
    (["train", "--data", "nowhere"], "nowhere: no such folder"),
    (["train", "--device", "gpu"], "--device gpu: no such device"),
    (["train", "--opt", "adamww"], "--opt adamww"),
    (["train", "--epochs", "0"], "--epochs must be 1 or more, not 0"),
    (["train", "--batch-size", "0"], "--batch-size must be 1 or more, not 0"),
    (["train", "--workers", "-1"], "--workers must be 0 or more, not -1"),
    (["train", "--val-split", "2"], "--val-split must be between 0 and 1, not 2.0"),
    (["train", "--img-size", "0"], "--img-size must be 1 or more, not 0"),
    (["train", "--freeze-stages", "5"], "freeze_stages must lie in 0..4, not 5"),
    (["train", "--output", "/dev/null/x"], "/dev/null/x/classify/digits: cannot write there"),
    (["train", "--resume", "gone.pth"], "gone.pth"),
    (["train", "--weights", "gone.pth"], "gone.pth"),
    (["train", "--task", "clasify"], "unknown task 'clasify' (did you mean classify"),
    (["train", "--mean", "0.5", "0.5"], "--mean and --std need 1 numbers"),
    (["eval"], "the following arguments are required: --weights"),
    (["eval", "--weights", "gone.pth"], "gone.pth"),
    (["trian"], "invalid choice: 'trian'"),
    ([], "the following arguments are required: COMMAND"),
])  # fmt: skip
def test_mistakes_get_one_line(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in refusal(capsys, *argv)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_said_explicitly_is_strict(capsys: pytest.CaptureFixture[str]) -> None:
    assert "sees no CUDA GPU" in refusal(capsys, "train", "--device", "cuda")


def test_weights_of_another_network(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": twins.create_model("twins_pcpvt_small").state_dict()}, tmp_path / "other.pth")
    error = refusal(capsys, "train", "--data", str(images), "--weights", str(tmp_path / "other.pth"),
                    "--model", "twins_svt_small", "--output", str(tmp_path))  # fmt: skip
    assert "twins_pcpvt_small" in error
    assert not (tmp_path / "classify").exists()


def test_classes_that_do_not_fit(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": twins.create_model("twins_svt_small", num_classes=7).state_dict()}, tmp_path / "seven.pth")
    error = refusal(capsys, "eval", "--weights", str(tmp_path / "seven.pth"), "--data", str(images))
    assert "does not fit 3 classes" in error


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_saves_and_prints_the_command_that_goes_on(images: Path, tmp_path: Path, stop: int) -> None:
    """Terminals send SIGINT, schedulers SIGTERM to the whole group, processes that load data among them."""
    argv = ["train", "--data", str(images), "--output", str(tmp_path), "--name", "long", *QUICK, "--epochs", "9999",
            "--workers", "2"]  # fmt: skip
    process = subprocess.Popen([sys.executable, "-m", "twins.cli", *argv], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, start_new_session=True)  # fmt: skip
    checkpoint = tmp_path / "classify" / "long" / "checkpoint.pth"
    waited = time.time() + 120
    while not checkpoint.exists() and time.time() < waited:
        time.sleep(0.1)
    os.killpg(process.pid, stop)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error == ""
    command = out.strip().splitlines()[-1].split()
    assert command == ["twins", "train", "--resume", str(checkpoint)]
    epochs = torch.load(checkpoint, weights_only=True)["epoch"] + 1
    assert main([*command[1:], "--epochs", str(epochs + 1)]) == 0


@pytest.mark.skipif(os.environ.get("TWINS_OPS") is not None, reason="the default form is chosen")
def test_a_run_says_once_what_computes_it(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--data", str(images), "--output", str(tmp_path), *QUICK]) == 0
    assert capsys.readouterr().out.count("fused attention on folded windows") == 1

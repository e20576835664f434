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
from typing import Any

import pytest
import torch

import twins
from helpers.command_line import refusal
from helpers.tiny import TINY, make_images
from twins.checkpoints import info
from twins.checkpoints.read import read_checkpoint
from twins.cli import COMMANDS, main, parse
from twins.commands import train
from twins.flops import Flops, count_flops
from twins.recipes import TASKS, ClassifyRecipe, Recipe, find_recipe
from twins.recipes.base import SMALL_SVT
from twins.training.loop import fit

TINY_FLAGS = ["--model-kwargs", *(f"{key}={','.join(map(str, value))}" for key, value in TINY.items())]
FAST = [*TINY_FLAGS, "--img-size", "32", "--epochs", "1", "--batch-size", "6", "--workers", "0", "--device", "cpu"]


def zeros_like_published(name: str, **settings: Any) -> dict[str, torch.Tensor]:
    """The state dict of a published network, all zeros, of which a file takes no more than the names."""
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in twins.create_model(name, **settings).state_dict().items()}
    return {key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}


@pytest.fixture
def files_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The checkpoints that are read."""
    names: list[str] = []
    monkeypatch.setattr(info, "read_checkpoint", lambda path: names.append(str(path)) or read_checkpoint(path))
    return names


def test_train_eval_and_resume(
    images: Path, tmp_path: Path, files_read: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Evaluating and resuming read the checkpoint once each."""
    runs = str(tmp_path / "runs")
    assert main(["train", "--data", str(images), "--output", runs, "--name", "mine", *FAST]) == 0
    folder = tmp_path / "runs" / "classify" / "mine"
    out = capsys.readouterr().out
    if "TWINS_OPS" not in os.environ:  # else another backend may be chosen
        assert out.count("fused attention on folded windows") == 1
    assert main(["eval", "--weights", str(folder / "checkpoint.pth"), "--output", runs]) == 0
    assert files_read == [str(folder / "checkpoint.pth")]
    log = json.loads((folder / "log.txt").read_text())
    metrics = json.loads((tmp_path / "runs" / "classify" / "mine-eval" / "metrics.json").read_text())
    assert metrics["loss"] == pytest.approx(log["val_loss"], rel=1e-6)
    assert f"Acc@1 {log['val_acc1']:.2f}  val loss" in capsys.readouterr().out  # Acc@5 of so few classes is 100
    assert main(["train", "--resume", str(folder / "checkpoint.pth"), "--epochs", "2"]) == 0
    assert files_read == 2 * [str(folder / "checkpoint.pth")]
    assert len((folder / "log.txt").read_text().splitlines()) == 2


def test_eval_takes_the_classes_from_the_checkpoint(images: Path, tmp_path: Path) -> None:
    """A folder with two of three classes, in which labels would count differently."""
    recipe = ClassifyRecipe(model_kwargs=TINY, data=str(images), output=str(tmp_path), img_size=32, epochs=8, lr=5e-3,
                            batch_size=6, warmup_epochs=0, workers=0, color_jitter=None)  # fmt: skip
    outcome = fit(recipe)
    assert outcome.best["value"] == 100.0
    two = make_images(tmp_path / "two", {"bee": 120, "cat": 240}, val=4)
    best = str(outcome.folder / "checkpoint_best.pth")
    assert main(["eval", "--weights", best, "--data", str(two), "--output", str(tmp_path)]) == 0
    metrics = json.loads((tmp_path / "classify" / "twins_svt_small-eval" / "metrics.json").read_text())
    assert (metrics["acc1"], metrics["images"]) == (100.0, 8)


def test_eval_guesses_the_network_of_bare_weights(tmp_path: Path, images: Path) -> None:
    torch.save(zeros_like_published("twins_pcpvt_small", num_classes=3), tmp_path / "bare.pth")
    argv = ["--weights", str(tmp_path / "bare.pth"), "--data", str(images), "--output", str(tmp_path)]
    assert main(["eval", *argv, "--img-size", "64", "--device", "cpu", "--workers", "0"]) == 0
    assert json.loads((tmp_path / "classify" / "bare-eval" / "metrics.json").read_text())["images"] == 15


def test_print_lr(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--recipe", "twins_svt_small", "--print-lr"]) == 0
    lrs = json.loads(capsys.readouterr().out)
    assert len(lrs) == 300
    assert lrs[2] == pytest.approx(4.008e-4, rel=1e-9)
    assert lrs[100] == pytest.approx(1e-5 + (2e-3 - 1e-5) * (1 + math.cos(math.pi * 99 / 300)) / 2, rel=1e-12)


def test_info_shows_live_counts_beside_published_ones(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def count_one(model: Any, img_size: int) -> Flops:
        """Of PCPVT-S, which will do: the others' are tested where they are counted."""
        is_small = len(model.blocks[2]) == 6
        return count_flops(model, img_size) if is_small else Flops(1, 1, 1)

    monkeypatch.setattr("twins.commands.model_tables.count_flops", count_one)
    assert main(["info", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["twins_svt_large"]["params"] == 99_271_400
    assert rows["twins_svt_large"]["top1_published"] == 83.7
    assert round(rows["twins_pcpvt_small"]["gflops_fvcore"], 3) == 3.827
    monkeypatch.setattr("twins.commands.model_tables.count_flops", lambda *_: Flops(1, 1, 1))
    assert main(["info"]) == 0
    assert "24,060,776" in capsys.readouterr().out


@pytest.mark.parametrize("task", [None, *TASKS])
@pytest.mark.parametrize("command", [*COMMANDS, "data check", "data preview"])
def test_help_is_there(command: str, task: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*command.split(), *([] if task is None else ["--task", task]), "--help"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: twins {command} ")


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines() if line.startswith("    ")] == list(COMMANDS)


@pytest.mark.parametrize(("argv", "shown"), [
    (["train"], "probability of a horizontal flip (default: 0.0)"),
    (["train"], "mixed precision, in training and evaluation (default: off)"),
    (["train"], "none: never (default: none)"),
    (["train", "--recipe", "twins_svt_large"], "epochs of linear warm-up (default: 20)"),
    (["train", "--data", "mine"], "passes over the training images, each with an evaluation (default: 50)"),
    (["train", "--recipe", "mask_rcnn_svt_small_3x"], "(default: 27 33)"),
    (["eval"], "name of the run's folder; none: the recipe's, or else the network's (default: RUN-eval)"),
    (["eval"], "crop this share of the resized short side (default: as in the checkpoint's run)"),
    (["predict"], "detectors: least score of a detection (default: 0.3)"),
    (["predict"], "none: whole images (default: as in its run)"),
    (["predict"], "detectors: most detections an image (default: as in its run, or 100)"),
    (["predict"], "draw on the images, beside the data (default: on)"),
    (["data", "check", "--task", "segment"], "a usual end as _mask (default: none)"),
])  # fmt: skip
def test_help_shows_defaults(argv: list[str], shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*argv, "--help"])
    assert shown in " ".join(capsys.readouterr().out.split())


def test_help_and_mistakes_do_without_torch(tmp_path: Path) -> None:
    """One process says after each line whether torch is there; a checkpoint is not read before the flags are right."""
    (tmp_path / "broken.pth").write_bytes(b"no checkpoint")
    broken = str(tmp_path / "broken.pth")
    lines = [
        *(["--help"], ["--version"], ["trian"], []),
        *([command, "--help"] for command in COMMANDS),
        *(["train", "--task", task, "--help"] for task in TASKS),
        *(["data", look, "--help"] for look in ("check", "preview")),
        ["train", "--recipe", "mask_rcnn_svt_small_1x", "--help"],
        *(["train", *wrong] for wrong in MISTYPED),
        *(["train", "--resume", broken, *wrong] for wrong in MISTYPED[:4]),
        *(["eval", "--weights", broken, *wrong] for wrong in (["--epoch", "3"], ["--img-size", "x"], ["--conf", "2"])),
        *(["predict", "--weights", broken, "a.png", *wrong] for wrong in (["--cnf", "1"], ["--conf", "2"],
          ["--topk", "x"], ["--device", "gpu"], ["--model", "svt_smal"])),
        *(["data", "check", *wrong] for wrong in (["--epochs", "3"], ["--bad-images", "skpi"], ["--task", "detct"])),
        *(["info", *wrong] for wrong in (["--task", "clasify"], ["--jsn"])),
    ]  # fmt: skip
    script = (
        "import contextlib, io, json, sys\n"
        "from twins.cli import main\n"
        "for argv in json.loads(sys.argv[1]):\n"
        "    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as error:\n"
        "        try:\n"
        "            status = main(argv)\n"
        "        except SystemExit as stopped:\n"
        "            status = stopped.code\n"
        "    print(json.dumps([argv, status, len(error.getvalue().splitlines()), 'torch' in sys.modules]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, json.dumps(lines)], capture_output=True, text=True, check=True)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    status = [0 if {"--help", "--version"} & set(argv) else 2 for argv in lines]
    lines_of_errors = [1 if code else 0 for code in status]
    assert found == [[*line, False] for line in zip(lines, status, lines_of_errors, strict=True)]


# Flags of `train` that are mistyped, or have values that are.
MISTYPED = [
    ["--epoch", "3"], ["--epochs", "many"], ["--sched", "cosin"], ["--detectr", "retinanet"],
    ["--epochs", "0"], ["--model", "alt_gvt_smal"], ["--recipe", "twins_svt_samll"], ["--device", "gpu"],
    ["--task", "clasify"], ["--model-kwargs", "depths"], ["--mean", "0.5", "0.5"],
]  # fmt: skip


@pytest.mark.parametrize(("argv", "message"), [
    (["train", "--epoch", "3"], "unknown argument --epoch (did you mean --epochs"),
    (["train", "--epochs", "many"], "argument --epochs: invalid int value: 'many'"),
    (["train", "--sched", "cosin"], "--sched: invalid choice: 'cosin' (did you mean cosine?); there is cosine, step"),
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
    (["train", "--workers", "-1"], "--workers must be between 0 and 1024, not -1"),
    (["train", "--val-split", "2"], "--val-split must be between 0 and 1, not 2.0"),
    (["train", "--img-size", "0"], "--img-size must be 1 or more, not 0"),
    (["train", "--freeze-stages", "5"], "--freeze-stages must be between 0 and 4, not 5"),
    (["train", "--output", "/dev/null/x"], "/dev/null/x/classify/digits: cannot write there"),
    (["train", "--resume", "gone.pth"], "gone.pth"),
    (["train", "--weights", "gone.pth"], "gone.pth"),
    (["train", "--task", "clasify"], "unknown task 'clasify' (did you mean classify"),
    (["train", "--mean", "0.5", "0.5"], "--mean and --std need 1 numbers"),
    (["eval"], "the following arguments are required: --weights"),
    (["eval", "--weights", "gone.pth"], "gone.pth"),
    (["trian"], "invalid choice: 'trian' (did you mean train?)"),
    ([], "the following arguments are required: COMMAND"),
])  # fmt: skip
def test_mistakes_get_one_line(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in refusal(capsys, *argv)


@pytest.mark.parametrize(("argv", "message"), [
    (["train", "--detector", "retinanet"], "--detector is a flag of --task detect; see twins train --help"),
    (["train", "--task", "detect", "--slide", "3"], "--slide is a flag of --task segment; see twins train --help"),
    (["train", "--head", "upernet"], "--head is a flag of --task segment or --task detect; see twins train --help"),
    (["train", "--recipe", "twins_svt_small", "--crop", "3"], "--crop is a flag of --task detect"),
    (["data", "check", "--max-size", "9"], "--max-size is a flag of --task detect; see twins data check --help"),
    (["train", "--detectr", "retinanet"], "unknown argument --detectr (did you mean --detector"),
    (["data", "check", "--epochs", "3"], "unknown argument --epochs"),
])  # fmt: skip
def test_flags_of_another_task(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in refusal(capsys, *argv)


@pytest.mark.parametrize("flag", ["--weights", "--resume"])
def test_the_task_of_a_file_decides_which_flags_count(
    flag: str, tmp_path: Path, files_read: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Flags that no task has, and values that none takes, are refused before the file is read; then its task counts."""
    file = str(tmp_path / "segmenter.pth")
    meta = {"task": "segment", "head": "upernet", "create_model": {}}
    torch.save({"format": "twins-1", "model": {"weight": torch.zeros(1)}, "meta": meta}, file)
    argv = ["eval" if flag == "--weights" else "train", flag, file]
    assert "unknown argument --slid (did you mean --slide" in refusal(capsys, *argv, "--slid", "32")
    assert "argument --slide: invalid int value: 'x'" in refusal(capsys, *argv, "--slide", "x")
    assert "--conf must be between 0 and 1, not 2.0" in refusal(capsys, *argv, "--conf", "2")
    assert files_read == []
    assert "--detector is a flag of --task detect" in refusal(capsys, *argv, "--detector", "retinanet")
    assert files_read == [file]
    args = parse([*argv, "--slide", "32", "--resize", "none"])
    assert (args.task, args.base_recipe.task, args.changes) == ("segment", "segment", {"slide": 32, "resize": None})


def test_a_recipe_decides_the_task() -> None:
    args = parse(["train", "--recipe", "retinanet_svt_base_1x", "--crop-sizes", "7", "8"])
    assert (args.task, args.base_recipe.model, args.changes) == ("detect", "twins_svt_base", {"crop_sizes": (7, 8)})
    assert args.checkpoint is None


@pytest.mark.parametrize(("name", "found"), [("mine", None), ("other", "other"), (None, "other")])
def test_resume_without_a_file_takes_the_newest_unfinished_run(
    name: str | None,
    found: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of that name if there is one; a run that is finished is not gone on with, so that a new one starts."""
    recipe = find_recipe("digits").replace(output=str(tmp_path), epochs=7)
    for folder in (tmp_path / "classify" / "mine", tmp_path / "classify" / "other"):
        folder.mkdir(parents=True)
        meta = {"task": "classify", "create_model": {}, "recipe": recipe.to_dict()}
        weights = {"weight": torch.zeros(1)}
        state = {"optimizer": {"state": {}, "param_groups": []}, "epoch": 0}
        torch.save({"format": "twins-1", "model": weights, **state, "meta": meta}, folder / "checkpoint.pth")
    (tmp_path / "classify" / "mine" / "summary.json").touch()
    started: list[tuple[int, Any, Any]] = []

    def not_trained(recipe: ClassifyRecipe, folder: Path | None, resume: Any) -> Any:
        started.append((recipe.epochs, folder, resume is None))
        raise KeyboardInterrupt

    monkeypatch.setattr("twins.training.loop.fit", not_trained)
    named = [] if name is None else ["--name", name]
    assert main(["train", "--resume", "--output", str(tmp_path), *named]) == 130
    assert started == [(40, None, True) if found is None else (7, tmp_path / "classify" / found, False)]
    assert ("no unfinished run named mine: starting one" in capsys.readouterr().out) is (found is None)


@pytest.mark.parametrize(("checkpoint", "message"), [
    ({"model": {"weight": torch.zeros(1)}}, "weights without optimiser state cannot be resumed; pass it as --weights"),
    ({"model": {"weight": torch.zeros(1)}, "optimizer": {}, "epoch": 0},
     "optimizer holds {}, not the state of an optimiser"),
    ({"model": {"weight": torch.zeros(1)}, "optimizer": {"state": {}, "param_groups": []}}, "has no `epoch`"),
    ({"model": {"weight": torch.zeros(1)}, "optimizer": {"state": {}, "param_groups": []}, "epoch": 0},
     "no recipe inside; a checkpoint of the original"),
])  # fmt: skip
def test_what_cannot_be_resumed(
    checkpoint: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(checkpoint, tmp_path / "other.pth")
    assert f"{tmp_path / 'other.pth'}: {message}" in refusal(capsys, "train", "--resume", str(tmp_path / "other.pth"))


def test_settings_of_the_network_are_numbers_lists_or_words() -> None:
    args = parse(["train", "--model-kwargs", "depths=2,2,4,2", "window_size=7", "qkv_bias=true", "box=a,b"])
    assert args.changes == {"model_kwargs": {"depths": (2, 2, 4, 2), "window_size": 7, "qkv_bias": True, "box": "a,b"}}


@pytest.mark.parametrize("flag", ["--freeze", "--freeze-stages"])
def test_the_backbone_is_frozen_by_its_name(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    for value, stages in (("backbone", 4), ("2", 2)):
        assert parse(["train", flag, value]).changes == {"freeze_stages": stages}
    assert "--freeze: invalid int value: 'neck'" in refusal(capsys, "train", flag, "neck")


def test_resume_without_any_unfinished_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = refusal(capsys, "train", "--resume", "--output", str(tmp_path))
    assert f"{tmp_path}: no unfinished run there to go on with" in error


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_said_explicitly_is_strict(capsys: pytest.CaptureFixture[str]) -> None:
    assert "sees no CUDA GPU" in refusal(capsys, "train", "--device", "cuda")


def test_weights_of_another_network(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": zeros_like_published("twins_pcpvt_small")}, tmp_path / "other.pth")
    error = refusal(capsys, "train", "--data", str(images), "--weights", str(tmp_path / "other.pth"),
                    "--model", "twins_svt_small", "--output", str(tmp_path))  # fmt: skip
    assert "twins_pcpvt_small" in error
    assert not (tmp_path / "classify").exists()


def test_classes_that_do_not_fit(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": zeros_like_published("twins_svt_small", num_classes=7)}, tmp_path / "seven.pth")
    error = refusal(capsys, "eval", "--weights", str(tmp_path / "seven.pth"), "--data", str(images))
    assert "has 3 classes, ant, bee, cat; the network tells 7 apart and does not name them: pass --classes" in error


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_saves_and_prints_the_command_that_goes_on(images: Path, tmp_path: Path, stop: int) -> None:
    """Terminals send SIGINT, schedulers SIGTERM to the whole group, processes that load data among them."""
    argv = ["train", "--data", str(images), "--output", str(tmp_path), "--name", "long", *FAST, "--epochs", "9999",
            "--workers", "2"]  # fmt: skip
    process = subprocess.Popen([sys.executable, "-m", "twins.cli", *argv], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, start_new_session=True)  # fmt: skip
    checkpoint = tmp_path / "classify" / "long" / "checkpoint.pth"
    waited = time.time() + 120
    while not checkpoint.exists() and time.time() < waited:
        time.sleep(0.1)
    os.killpg(process.pid, stop)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 128 + stop
    assert error == ""
    command = out.strip().splitlines()[-1].split()
    assert command == ["twins", "train", "--resume", str(checkpoint)]
    if stop == signal.SIGTERM:  # what was saved is the same for both
        epochs = torch.load(checkpoint, weights_only=True)["epoch"] + 1
        assert main([*command[1:], "--epochs", str(epochs + 1)]) == 0


# Weights to start from bring their network


def network_to_train(*argv: str) -> Recipe:
    """The recipe by which `twins train` would build its network."""
    args = parse(["train", *argv])
    return train._with_network_of_weights(args.base_recipe.replace(**args.changes), train._said(args))


def own_checkpoint(file: Path, **settings: Any) -> Path:
    kwargs = {**TINY, **settings}
    model = twins.create_model("pcpvt_small", num_classes=3, **kwargs)
    meta = {"task": "classify", "name": "twins_pcpvt_small", "create_model": {"num_classes": 3, **kwargs}}
    torch.save({"format": "twins-1", "model": model.state_dict(), "meta": {**meta, "classes": ["a", "b", "c"]}}, file)
    return file


def test_weights_of_a_small_network_bring_its_settings(tmp_path: Path) -> None:
    own = str(own_checkpoint(tmp_path / "own.pth"))
    recipe = network_to_train("--weights", own)
    assert (recipe.model, recipe.model_kwargs) == ("twins_pcpvt_small", TINY)
    recipe = network_to_train("--weights", own, "--task", "segment", "--data", "masks")
    assert (recipe.model, recipe.model_kwargs) == ("twins_pcpvt_small", TINY)
    recipe = network_to_train("--weights", own, "--model-kwargs", "depths=2,1,1,1")
    assert recipe.model_kwargs == TINY | {"depths": (2, 1, 1, 1)}
    recipe = network_to_train("--weights", own, "--model", "svt_small")
    assert (recipe.model, recipe.model_kwargs) == ("svt_small", SMALL_SVT | {"window_size": 4})


def test_a_network_that_flags_say_otherwise_is_refused(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    own = own_checkpoint(tmp_path / "own.pth")
    monkeypatch.chdir(tmp_path)
    flags = ["--workers", "0", "--device", "cpu", "--model-kwargs", "depths=2,1,1,1"]
    assert main(["train", "--weights", str(own), *flags]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"twins: {own} does not fit this model: blocks.0.1.norm1.weight is not in the file; ")
    assert said.count("\n") == 1


@pytest.mark.parametrize("weights", ["~nosuchuser/a.pth", "a" * 5000, "a\0b", "a" * 5000 + "#key"])
def test_weights_by_a_name_that_no_file_has(weights: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert any(what in refusal(capsys, "eval", "--weights", weights) for what in ("is not there", "cannot be read"))


def test_a_setting_that_is_a_list_in_lists_without_end() -> None:
    deep = "[" * 100_000
    assert parse(["train", "--model-kwargs", f"depths={deep}"]).changes["model_kwargs"] == {"depths": deep}

"""main.py: the original's commands run as they are written, and print the lines that people grep."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import twins
from helpers.ranks import run_ranks
from helpers.runs import leave_plots_out

ROOT = Path(__file__).parents[1]
SMALL = ["--input-size", "32", "--num_workers", "0"]


@pytest.fixture(scope="module")
def main() -> ModuleType:
    return load_main()


def load_main() -> ModuleType:
    spec = importlib.util.spec_from_file_location("original_main", ROOT / "main.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FLAGS = """--batch-size 64 --epochs 300 --model x --input-size 224 --drop 0 --drop-path 0.1 --opt adamw --opt-eps 1e-8
--opt-betas 0.9 0.999 --clip-grad 5 --momentum 0.9 --weight-decay 0.05 --sched cosine --lr 5e-4 --lr-noise 0.4 0.9
--lr-noise-pct 0.67 --lr-noise-std 1.0 --warmup-lr 1e-6 --min-lr 1e-5 --decay-epochs 30 --warmup-epochs 5
--cooldown-epochs 10 --patience-epochs 10 --decay-rate 0.1 --dr 0.1 --color-jitter 0.4 --aa rand-m9-mstd0.5-inc1
--smoothing 0.1 --train-interpolation bicubic --repeated-aug --no-repeated-aug --reprob 0.25 --remode pixel --recount 1
--resplit --mixup 0.8 --cutmix 1.0 --cutmix-minmax 0.2 0.8 --mixup-prob 1.0 --mixup-switch-prob 0.5 --mixup-mode batch
--finetune f --data-path d --data-set INAT19 --use-mcloader --inat-category family --output_dir o --device cpu --seed 0
--resume r --start_epoch 0 --eval --dist-eval --num_workers 10 --pin-mem --no-pin-mem --world_size 1
--dist_url env:// --throughout"""


def test_every_flag_of_the_original_is_taken(main: ModuleType) -> None:
    args = main.make_parser().parse_args(FLAGS.split())
    assert len(vars(args)) == 56
    assert (args.opt_betas, args.cutmix_minmax, args.data_set) == ([0.9, 0.999], [0.2, 0.8], "INAT19")


def test_defaults_are_the_originals(main: ModuleType) -> None:
    args = main.make_parser().parse_args(["--model", "alt_gvt_small"])
    recipe = main.recipe_of(args)
    published = twins.recipes.find_recipe("twins_svt_base")
    differing = {
        name for name, value in recipe.to_dict().items()
        if value != published.to_dict()[name]
    } - {"name", "data", "dataset", "workers", "model", "device", "amp"}  # fmt: skip
    # The recipe of a published run differs in what its command set: batch, learning rate and drop-path.
    assert differing == {"batch_size", "drop_path", "lr_base", "lr_base_size"}


@pytest.mark.parametrize(("processes", "lr"), [(1, 6.25e-5), (8, 5e-4), (16, 1e-3)])
def test_the_learning_rate_scales_with_the_global_batch_over_512(main: ModuleType, processes: int, lr: float) -> None:
    args = main.make_parser().parse_args(["--model", "alt_gvt_small"])
    assert main.recipe_of(args).resolve(processes).lr == pytest.approx(lr)


@pytest.mark.parametrize(("asked", "ranks", "workers"), [(10, 1, 4), (10, 2, 2), (1, 1, 1), (0, 1, 0)])
def test_no_more_workers_than_cores(
    main: ModuleType, monkeypatch: pytest.MonkeyPatch, asked: int, ranks: int, workers: int
) -> None:
    """Of which this machine has four: PyTorch warns of more, and they wait for one another."""
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(ranks))
    args = main.make_parser().parse_args(["--model", "alt_gvt_small", "--num_workers", str(asked)])
    assert main.recipe_of(args).workers == workers


def run_main(main: ModuleType, capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    status = main.main(list(argv))
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_eval_of_a_published_checkpoint(
    main: ModuleType, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = {
        "model": twins.create_model("alt_gvt_small", num_classes=3).state_dict(),
        "args": argparse.Namespace(lr=1),
    }
    torch.save(weights, tmp_path / "alt_gvt_small.pth")
    argv = ["--eval", "--resume", str(tmp_path / "alt_gvt_small.pth"), "--model", "alt_gvt_small"]
    status, out, _ = run_main(main, capsys, *argv, "--data-path", str(images), *SMALL)
    assert status == 0
    stars, accuracy = out.strip().splitlines()[-2:]
    metrics = re.fullmatch(r"\* Acc@1 (\d+\.\d{3}) Acc@5 100\.000 loss (\d\.\d{3})", stars)
    assert metrics is not None
    assert accuracy == f"Accuracy of the network on the 15 test images: {float(metrics[1]):.1f}%"


@pytest.mark.parametrize(("argv", "message"), [
    ([], "the following arguments are required: --model"),
    (["--model", "pvt_small"], "unknown model 'pvt_small'"),
    (["--model", "alt_gvt_base", "--eval"], "--eval needs --resume"),
    (["--model", "alt_gvt_base", "--dropath", "1"], "unknown argument --dropath (did you mean --drop-path"),
    (["--model", "alt_gvt_base", "--data-path", "nowhere"], "nowhere: no such folder"),
    (["--model", "alt_gvt_base", "--data-set", "IMAGENET"], "invalid choice: 'IMAGENET'"),
])  # fmt: skip
def test_mistakes_get_one_line(
    main: ModuleType, argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, error = run_main(main, capsys, *argv)
    assert status == 2
    assert message in error
    assert error.count("\n") == 1


def launch(tmp_path: Path, *argv: str) -> str:
    """Under torchrun, as the original's README starts it on several GPUs."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.launch", "--nproc_per_node=2", "--use_env", ROOT / "main.py"]
    done = subprocess.run([*command, *argv], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return done.stdout


def as_rank(folder: Path, argv: list[str]) -> None:
    """What torchrun would start in each process, which here has imported PyTorch already."""
    os.chdir(folder)
    leave_plots_out()
    with (folder / f"rank{os.environ['RANK']}.txt").open("w") as file, redirect_stdout(file):
        assert load_main().main(argv) == 0


def test_the_readme_commands_of_the_original_on_two_processes(
    main: ModuleType,
    images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Train for an epoch over two gloo processes, go on for another in one, and evaluate over two again."""
    monkeypatch.chdir(tmp_path)
    leave_plots_out(monkeypatch.setattr)
    common = ["--model", "alt_gvt_small", "--batch-size", "4", "--data-path", str(images), "--dist-eval",
              "--drop-path", "0.3", *SMALL]  # fmt: skip
    out = launch(tmp_path, *common, "--epochs", "1")
    assert out.count("Accuracy of the network on the 15 test images: ") == 1
    assert re.search(r"^Max accuracy: \d+\.\d\d%$", out, re.MULTILINE)
    log: list[dict[str, Any]] = [
        json.loads(line) for line in (tmp_path / "alt_gvt_small/log.txt").read_text().splitlines()
    ]
    assert log[0]["n_parameters"] == sum(p.numel() for p in twins.create_model("alt_gvt_small", 3).parameters())
    assert {"train_lr", "train_loss", "test_loss", "test_acc1", "test_acc5", "epoch"} <= log[0].keys()
    assert run_main(main, capsys, *common, "--epochs", "2", "--resume", "alt_gvt_small/checkpoint.pth")[0] == 0
    assert len((tmp_path / "alt_gvt_small/log.txt").read_text().splitlines()) == 2
    run_ranks(2, as_rank, tmp_path, [*common, "--eval", "--resume", "alt_gvt_small/checkpoint.pth"])
    log = [json.loads(line) for line in (tmp_path / "alt_gvt_small/log.txt").read_text().splitlines()]
    assert (
        f"* Acc@1 {log[1]['test_acc1']:.3f} Acc@5 100.000 loss {log[1]['test_loss']:.3f}\n"
        in (tmp_path / "rank0.txt").read_text()
    )
    assert (tmp_path / "rank1.txt").read_text() == ""

"""FSDP2 on two processes: the learning of DDP, checkpoints in shards, and an exact way on from them."""

from __future__ import annotations

import os
import resource
import shutil
import signal
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from helpers.ranks import run_ranks
from helpers.runs import leave_plots_out, log_of, timeless_log
from helpers.tiny import TINY, TINY_RUN, make_images
from twins.checkpoints.info import read_info
from twins.checkpoints.load import load_weights
from twins.checkpoints.read import read_checkpoint
from twins.checkpoints.rotation import newest_whole
from twins.distributed.world import World
from twins.errors import TwinsError
from twins.recipes import ClassifyRecipe, Recipe, recipe_class
from twins.training import loop
from twins.training.sharded_checkpoints import ShardedCheckpointWriter
from twins.training.sharded_state import is_sharded
from twins.zoo import create_model


def learn(recipe: dict[str, Any], folder: Path, resume: bool = False, stop_in: int | None = None) -> None:
    """What each rank does; `stop_in` is the update in which the second one is interrupted."""
    leave_plots_out()
    backward = loop.backward
    updates = iter(range(10_000))

    def stopping(*given: Any) -> Tensor:
        if next(updates) == stop_in and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGINT)
        return backward(*given)

    loop.backward = stopping
    loop.fit(
        recipe_class(recipe["task"]).from_dict(recipe, "job"), folder, folder / "checkpoint.pth" if resume else None
    )


def run(recipe: Recipe, folder: Path, processes: int = 2, **how: Any) -> Path:
    run_ranks(processes, partial(learn, recipe.to_dict(), folder, **how))
    return folder


def tensors_of(value: Any, path: str = "") -> dict[str, Tensor]:
    """All tensors in a checkpoint, but the states of generators, by where they are."""
    if isinstance(value, Tensor):
        return {path: value}
    items = value.items() if isinstance(value, Mapping) else ()
    return {name: t for key, item in items if key != "rng" for name, t in tensors_of(item, f"{path}/{key}").items()}


def largest_difference(one: Path, other: Path) -> float:
    """Of all numbers in the newest checkpoints of two runs."""
    ours, theirs = (tensors_of(read_checkpoint(folder / "checkpoint.pth")) for folder in (one, other))
    assert ours.keys() == theirs.keys()
    return max(float((ours[name].double() - theirs[name].double()).abs().max()) for name in ours)


EVERYTHING = {
    "classify": {"layer_decay": 0.8, "freeze_stages": 1, "grad_accum_steps": 2, "batch_size": 4, "mixup": 0.8},
    "segment": {"grad_checkpointing": True, "amp": True, "amp_dtype": "float16"},
    "detect": {"opt": "momentum", "lr": 0.01},
}


@pytest.mark.parametrize(
    "fixture",
    [
        "tiny_recipe",
        pytest.param("tiny_segment_recipe", marks=pytest.mark.slow),
        pytest.param("tiny_detect_recipe", marks=pytest.mark.slow),
    ],
)
def test_sharded_networks_learn_what_whole_ones_learn(
    fixture: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """With drop path, a moving average, clipped gradients and uneven shards; rounding alone may differ."""
    recipe: Recipe = request.getfixturevalue(fixture)
    recipe = recipe.replace(epochs=1, model_ema=True, model_ema_decay=0.9, clip_grad=1.0, **EVERYTHING[recipe.task])
    ddp, fsdp = (run(recipe.replace(parallel=name), tmp_path / name) for name in ("ddp", "fsdp"))
    assert largest_difference(ddp, fsdp) < 1e-6
    (whole,), (sharded,) = timeless_log(ddp), timeless_log(fsdp)
    assert sharded == pytest.approx(whole, rel=1e-5)


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Path]:
    """A sharded run that nothing stopped, and its recipe: two epochs of 5 updates, of 15 images evaluated in batches
    of 6, which is two on the one rank and two on the other."""
    folder = tmp_path_factory.mktemp("whole")
    data = make_images(folder / "images", {"ant": 0, "bee": 120, "cat": 240}, train=12, val=5)
    recipe = ClassifyRecipe(
        model_kwargs=TINY, data=str(data), img_size=32, batch_size=4, parallel="fsdp", model_ema=True, clip_grad=1.0,
        save_every="2", **TINY_RUN,
    )  # fmt: skip
    return recipe, run(recipe, folder / "run")


def test_a_resumed_run_ends_as_one_that_never_stopped(whole_run: tuple[Recipe, Path], tmp_path: Path) -> None:
    """Bit for bit: weights, moving average, optimiser and logs; stopped within an epoch by a signal to one rank."""
    recipe, reference = whole_run
    stopped = run(recipe, tmp_path / "stopped", stop_in=6)
    assert read_checkpoint(stopped / "checkpoint.pth")["step"] == 2  # of epoch 1
    run(recipe, stopped, resume=True)
    assert largest_difference(stopped, reference) == 0
    assert timeless_log(stopped) == timeless_log(reference)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2, 4])
def test_shards_are_resumed_by_any_number_of_processes_whole_or_sharded(
    whole_run: tuple[Recipe, Path], tmp_path: Path, processes: int
) -> None:
    """Of four processes, one has none of the head's three rows."""
    recipe, reference = whole_run
    ends = []
    for parallel in ("ddp", "fsdp"):
        shutil.copytree(reference, folder := tmp_path / parallel)
        ends.append(run(recipe.replace(parallel=parallel, epochs=3), folder, processes, resume=True))
        assert [row["epoch"] for row in log_of(folder)] == [0, 1, 2]
    assert largest_difference(*ends) < 1e-6


def test_the_best_checkpoint_is_one_file_of_whole_weights(whole_run: tuple[Recipe, Path]) -> None:
    _, folder = whole_run
    best = torch.load(folder / "checkpoint_best.pth", weights_only=True)
    newest = read_checkpoint(folder / "checkpoint.pth")
    for key in ("model", "model_ema"):
        assert {name: tensor.shape for name, tensor in best[key].items()} == {
            name: tensor.shape for name, tensor in newest[key].items()
        }
    assert "optimizer" not in best
    info = read_info(folder / "checkpoint_best.pth")
    assert info.classes == ("ant", "bee", "cat")
    assert best["epoch"] == best["best"]["epoch"]
    for ema in (True, False):
        assert load_weights(create_model(**info.create_model, name=info.model), info, ema=ema).matched


def test_the_one_before_damaged_shards_is_gone_on_with(
    whole_run: tuple[Recipe, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(whole_run[1], folder := tmp_path / "run")
    kept = sorted(path.name for path in folder.glob("shards-*"))
    assert len(kept) == 2  # of the newest and the one before
    named = torch.load(folder / "checkpoint.pth", weights_only=True)["shards"]
    assert named["folder"] in kept
    assert len(named["files"]) == 2
    for name in named["files"]:
        shard = folder / named["folder"] / name
        whole = shard.read_bytes()
        for content in (whole[:-1], whole[: len(whole) // 2] + b"?" + whole[len(whole) // 2 + 1 :]):
            shard.write_bytes(content)
            with pytest.raises(TwinsError, match=f"{name} is cut short or damaged, or of another checkpoint"):
                read_checkpoint(folder / "checkpoint.pth")
        shard.unlink()
        with pytest.raises(TwinsError, match=f"{name} is not there: .*checkpoint.pth needs it"):
            read_checkpoint(folder / "checkpoint.pth")
        info = newest_whole(folder / "checkpoint.pth", read_info, print)
        assert (info.checkpoint["epoch"], info.checkpoint["step"]) == (0, 4)
        assert f"going on with the one before it, {folder / 'checkpoint.1.pth'}" in capsys.readouterr().out
        shard.write_bytes(whole)
    assert read_checkpoint(folder / "checkpoint.pth")["epoch"] == 1


def fails_to_write(recipe: dict[str, Any], folder: Path) -> None:
    """What each rank does where the second one's disk is full after the first checkpoint."""
    leave_plots_out()
    save = ShardedCheckpointWriter.save

    def saving(self: ShardedCheckpointWriter, *given: Any) -> None:
        if self.blocked and os.environ["RANK"] == "1":
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
        save(self, *given)

    ShardedCheckpointWriter.save = saving
    with pytest.raises(TwinsError, match=r"shards-\w+: cannot be written \(File too large\); is the disk full\?"):
        loop.fit(recipe_class(recipe["task"]).from_dict(recipe, "job"), folder)


def test_a_full_disk_of_one_rank_stops_all_with_the_checkpoint_before(tiny_recipe: Recipe, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run_ranks(2, fails_to_write, tiny_recipe.replace(parallel="fsdp").to_dict(), folder)
    assert read_checkpoint(folder / "checkpoint.pth")["epoch"] == 0
    assert len(list(folder.glob("shards-*"))) == 1


@pytest.mark.parametrize(
    ("change", "flag"), [({"torchcompile": True}, "--torchcompile"), ({"opt": "lamb"}, "--opt lamb")]
)
def test_settings_that_shards_do_not_go_with_are_refused(
    tiny_recipe: Recipe, change: dict[str, Any], flag: str
) -> None:
    with pytest.raises(TwinsError, match=f"{flag} goes with --parallel ddp"):
        is_sharded(tiny_recipe.replace(parallel="fsdp", **change), World(0, 2, torch.device("cpu")))


def test_a_single_process_says_that_it_holds_everything(
    tiny_recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_plots_out(monkeypatch.setattr)
    loop.fit(tiny_recipe.replace(parallel="fsdp", epochs=1), tmp_path / "run")
    assert "--parallel fsdp: a single process holds all of the network" in capsys.readouterr().out
    assert not list((tmp_path / "run").glob("shards-*"))

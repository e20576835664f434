"""Checkpoints survive crashes, and runs their neighbours."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers.runs import StopAfter, assert_same, timeless_log, weights_of
from twins.checkpoints.info import read_info
from twins.checkpoints.resume import _generators, _restore_generators, save_checkpoint
from twins.distributed.world import choose_device
from twins.errors import TwinsError
from twins.optional_dependencies import need
from twins.recipes import ClassifyRecipe
from twins.training import loop
from twins.training.loop import fit


def test_a_crash_while_writing_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.pth"
    save_checkpoint({"epoch": 1}, path)

    def crash(value: Any, file: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", crash)
    with pytest.raises(TwinsError, match=r"checkpoint\.pth: cannot be written .No space left on device"):
        save_checkpoint({"epoch": 2}, path)
    monkeypatch.undo()
    assert torch.load(path, weights_only=True) == {"epoch": 1}


def as_written_before(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint as the first versions wrote it."""
    old = {key: value for key, value in checkpoint.items() if key != "totals"}
    totals, best = checkpoint["totals"], checkpoint["best"]
    old["under_way"] = {"lr": totals["lr"], "loss": totals["loss"], "count": totals["images"]}
    old["best"] = {"figure": best["metric"], "value": best["value"], "epoch": best["epoch"]}
    return old


def test_checkpoints_of_earlier_versions_are_resumed_bit_for_bit(
    tiny_recipe: ClassifyRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of an epoch, with their logs, where validation metrics are called `test_acc1`."""
    whole = fit(tiny_recipe.replace(name="whole"))
    stop = StopAfter(monkeypatch, 1, 2)
    folder = fit(tiny_recipe.replace(name="parts"), val_prefix="test_").folder
    stop.undo()
    checkpoint = folder / "checkpoint.pth"
    written = torch.load(checkpoint, weights_only=True)
    torch.save(as_written_before(written), checkpoint)
    resumed = fit(tiny_recipe, folder=folder, resume=checkpoint)
    assert_same(weights_of(whole.folder), weights_of(folder))
    assert resumed.best == whole.best
    rows = timeless_log(folder)
    assert "test_acc1" in rows[0]
    assert [{name.replace("test_", "val_"): value for name, value in row.items()} for row in rows] == timeless_log(
        whole.folder
    )
    assert (folder / "curves.png").stat().st_size > 5000


def test_a_checkpoint_that_has_been_read_is_not_read_again(tiny_recipe: ClassifyRecipe) -> None:
    recipe = tiny_recipe.replace(steps_per_epoch=1)
    checkpoint = fit(recipe.replace(epochs=1)).folder / "checkpoint.pth"
    info = read_info(checkpoint)
    checkpoint.unlink()
    from_memory = fit(recipe, resume=info).folder
    assert_same(weights_of(fit(recipe).folder), weights_of(from_memory))


def test_generators_are_given_and_taken_back(tmp_path: Path) -> None:
    torch.save(_generators(), tmp_path / "rng.pt")
    drawn = random.random(), np.random.rand(3).tolist(), torch.rand(3).tolist()
    _restore_generators(torch.load(tmp_path / "rng.pt", weights_only=True))
    assert (random.random(), np.random.rand(3).tolist(), torch.rand(3).tolist()) == drawn


def test_running_out_of_memory_says_what_to_try(tiny_recipe: ClassifyRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: Any) -> float:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(loop, "backward", exhausted)
    with pytest.raises(TwinsError, match="half the --batch-size with twice the --grad-accum-steps"):
        fit(tiny_recipe)


@pytest.mark.parametrize(
    ("device", "message"), [("tpu0", "no such device"), ("cuda:99", "CUDA GPU"), ("mps", "Apple GPU")]
)
def test_devices_that_are_not_there(device: str, message: str) -> None:
    if device == "mps" and torch.backends.mps.is_available():
        pytest.skip("this machine has one")
    with pytest.raises(TwinsError, match=message):
        choose_device(device)


def test_auto_takes_what_there_is() -> None:
    best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert choose_device("auto").type == best


def test_a_missing_library_is_named_with_the_command_that_brings_it() -> None:
    with pytest.raises(TwinsError, match=r'nosuchlibrary is not installed; run: pip install "twins-vit\[train\]"'):
        need("nosuchlibrary.part", extra="train")

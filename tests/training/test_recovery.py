"""A run that is killed at any moment and started again ends as if nothing had been."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.runs import assert_same, leave_plots_out, log_of, timeless_log
from twins.cli import main
from twins.errors import TwinsError
from twins.recipes import ClassifyRecipe, Recipe
from twins.tasks.classify import Classification
from twins.training import loop, saving
from twins.training.loop import fit


class KilledError(BaseException):
    """Ends a run as nothing that it could handle does."""


def states_of(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, list[Path]]:
    """The folder of a whole run, and copies of it as it was right after each checkpoint."""
    copies: list[Path] = []
    save = saving.Saving._save

    def copying(self: saving.Saving, also: str | None = None) -> None:
        save(self, also)
        self.wait()
        copies.append(self.setup.folder.path.with_name(f"state{len(copies)}"))
        shutil.copytree(self.setup.folder.path, copies[-1])

    with monkeypatch.context() as patch:
        patch.setattr(saving.Saving, "_save", copying)
        return fit(recipe).folder, copies


def steps_of(folder: Path) -> list[tuple[str, ...]]:
    """The rows of steps.csv without their speeds."""
    path = folder / "steps.csv"
    return [tuple(row.split(",")[:4]) for row in path.read_text().splitlines()] if path.exists() else []


def assert_ended_alike(folder: Path, reference: Path) -> None:
    for name in ("checkpoint.pth", "checkpoint_best.pth"):
        ours, theirs = (torch.load(f / name, weights_only=True) for f in (folder, reference))
        assert_same(ours["model"], theirs["model"])
        assert (ours["model_ema"] is None) == (theirs["model_ema"] is None)
        if ours["model_ema"] is not None:
            assert_same(ours["model_ema"], theirs["model_ema"])
        for index, state in ours["optimizer"]["state"].items():
            assert_same(state, theirs["optimizer"]["state"][index])
        assert ours["best"] == theirs["best"]
        assert ours["lr_scheduler"] == theirs["lr_scheduler"]
    assert timeless_log(folder) == timeless_log(reference)
    assert steps_of(folder) == steps_of(reference)
    assert len((folder / "metrics.csv").read_text().splitlines()) == len(log_of(reference)) + 1
    assert (folder / "summary.json").exists()


@pytest.mark.usefixtures("without_plots")
@pytest.mark.parametrize("fixture", ["tiny_recipe", "tiny_segment_recipe", "tiny_detect_recipe"])
def test_every_checkpoint_leads_to_the_same_end(
    fixture: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe: Recipe = request.getfixturevalue(fixture).replace(save_every="2", log_interval=3, model_ema=True)
    reference, states = states_of(recipe, monkeypatch)
    assert len(states) == 2 * (1 + len(updates_of_epoch(recipe)) // 2)
    for folder in states[1 :: max(1, len(states) // 3)]:
        assert fit(recipe, folder, resume=folder / "checkpoint.pth").finished
        assert_ended_alike(folder, reference)


def updates_of_epoch(recipe: Recipe) -> range:
    """The updates of an epoch."""
    images = 36 if isinstance(recipe, ClassifyRecipe) else 12
    assert recipe.batch_size is not None
    return range(-(-images // recipe.batch_size))


@pytest.mark.usefixtures("without_plots")
def test_what_was_logged_after_the_last_checkpoint_is_logged_once(
    tiny_recipe: ClassifyRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed when the row of epoch 1 was in the log already, and a half-written one of epoch 2 behind it."""
    recipe = tiny_recipe.replace(epochs=3, save_every=None, log_interval=1)
    reference, states = states_of(recipe, monkeypatch)
    folder = states[0]
    for log in ("log.txt", "metrics.csv", "steps.csv"):
        lines = (reference / log).read_bytes().splitlines(keepends=True)
        (folder / log).write_bytes(b"".join(lines[:-1]) + lines[-1][:9])
    (folder / ".99999.checkpoint.pth").write_bytes(b"half")
    fit(recipe, folder, resume=folder / "checkpoint.pth")
    assert_ended_alike(folder, reference)
    assert not (folder / ".99999.checkpoint.pth").exists()
    for table in ("metrics.csv", "steps.csv"):
        lines = (folder / table).read_bytes().splitlines(keepends=True)
        assert {line[-2:] for line in lines} == {b"\r\n"}, table  # as the csv module ends them


@pytest.mark.usefixtures("without_plots")
def test_a_run_that_lacks_only_its_end_gets_it(tiny_recipe: ClassifyRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    reference, states = states_of(tiny_recipe, monkeypatch)
    folder = states[-1]
    assert not (folder / "summary.json").exists()
    assert fit(tiny_recipe, folder, resume=folder / "checkpoint.pth").finished
    assert_ended_alike(folder, reference)
    with pytest.raises(TwinsError, match="2 epochs are done and --epochs is 2"):
        fit(tiny_recipe, folder, resume=folder / "checkpoint.pth")


@pytest.mark.usefixtures("without_plots")
def test_a_plateau_goes_on_counting(tiny_recipe: ClassifyRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny_recipe.replace(sched="plateau", sched_unit="epoch", patience_epochs=1, epochs=6, lr=0.0, patience=4)
    with pytest.warns(FutureWarning, match="PlateauLRScheduler"):
        reference, states = states_of(recipe, monkeypatch)
    assert [row["epoch"] for row in log_of(reference)] == [0, 1, 2, 3, 4]  # nothing better for 4 epochs
    for folder in states[:-1]:
        with pytest.warns(FutureWarning, match="PlateauLRScheduler"):
            fit(recipe, folder, resume=folder / "checkpoint.pth")
        assert_ended_alike(folder, reference)


@pytest.mark.usefixtures("without_plots")
def test_the_one_before_a_damaged_checkpoint_is_gone_on_with(
    tiny_recipe: ClassifyRecipe, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reference, states = states_of(tiny_recipe.replace(save_every="2"), monkeypatch)
    folder = states[3]
    content = bytearray((folder / "checkpoint.pth").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "checkpoint.pth").write_bytes(content)
    assert main(["train", "--resume", str(folder / "checkpoint.pth")]) == 0
    out = capsys.readouterr().out
    assert f"{folder / 'checkpoint.pth'} is cut short or damaged" in out
    assert f"going on with the one before it, {folder / 'checkpoint.1.pth'}" in out
    assert_ended_alike(folder, reference)


@pytest.mark.usefixtures("without_plots")
def test_a_run_killed_before_its_first_checkpoint_begins_again_in_its_folder(
    tiny_recipe: ClassifyRecipe, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(loop, "take_step", killed)
        with pytest.raises(KilledError):
            fit(tiny_recipe)
    folder = Path(tiny_recipe.output) / "classify" / "tiny"
    assert not (folder / "checkpoint.pth").exists()
    saved = folder / "recipe.json"
    argv = ["train", "--recipe", str(saved), "--resume", "--epochs", "1"]
    assert main(argv) == 0
    assert f"{folder}: nothing was saved yet; starting it again" in capsys.readouterr().out
    assert [row["epoch"] for row in log_of(folder)] == [0]
    assert not folder.with_name("tiny2").exists()


def test_plots_that_fail_stop_nothing(
    tiny_recipe: ClassifyRecipe, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    leave_plots_out(monkeypatch.setattr)

    def failing(*_: Any) -> None:
        raise IsADirectoryError(21, "Is a directory", "confusion.png")

    monkeypatch.setattr(Classification, "draw", failing)
    monkeypatch.setattr(Classification, "draw_batch", failing)
    assert fit(tiny_recipe).finished
    folder = Path(tiny_recipe.output) / "classify" / "tiny"
    assert [row["epoch"] for row in log_of(folder)] == [0, 1]
    out = capsys.readouterr().out
    assert out.count(f"{folder}: plots not drawn (IsADirectoryError: ") == 3  # of a batch, and of two best epochs


def test_another_run_in_the_folder_is_refused(tiny_recipe: ClassifyRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_plots_out(monkeypatch.setattr)
    step = loop.take_step
    refused: list[str] = []

    def beside_another(*args: Any, **settings: Any) -> None:
        if not refused:
            with pytest.raises(TwinsError) as error:
                fit(tiny_recipe.replace(exist_ok=True))
            refused.append(str(error.value))
        step(*args, **settings)

    monkeypatch.setattr(loop, "take_step", beside_another)
    assert fit(tiny_recipe).finished
    assert f"another run writes there (process {os.getpid()} on " in refused[0]


@pytest.mark.parametrize("kilobytes", [1, 40, 400])
def test_a_full_disk_is_one_line(tiny_recipe: ClassifyRecipe, kilobytes: int) -> None:
    """No file grows beyond so much: the recipe, a log, a plot or a checkpoint cannot be written."""
    recipe = Path(tiny_recipe.output) / "recipe.json"
    recipe.parent.mkdir()
    recipe.write_text(json.dumps(tiny_recipe.to_dict()))

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024, kilobytes * 1024))

    done = subprocess.run(
        [sys.executable, "-m", "twins.cli", "train", "--recipe", str(recipe)],
        capture_output=True, text=True, check=False, preexec_fn=limit,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "cannot be written (File too large)" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(recipe.parent.rglob(".*"))

"""An attempt of a torchrun job goes on with the run of the attempt before, and with no other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers.runs import StopAfter, assert_same, timeless_log, weights_of
from helpers.tiny import TINY
from twins.cli import main
from twins.training.run_of_job import RunOfJob, find_run_of_job

pytestmark = pytest.mark.usefixtures("without_plots")

NETWORK = [f"{name}={','.join(map(str, values))}" for name, values in TINY.items()]


def attempt(monkeypatch: pytest.MonkeyPatch, agent: str, number: int = 0) -> None:
    """What torchrun tells its ranks."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", f"/tmp/torchelastic_x/{agent}/attempt_{number}/0/error.json")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", str(number))


def record(folder: Path, agents: object) -> Path:
    """A run's folder as an attempt by these agents leaves it."""
    folder.mkdir(parents=True)
    (folder / "recipe.json").write_text(json.dumps({"recipe": {}, "ran_on": {"agents": agents}}))
    return folder


def test_the_newest_run_of_one_of_its_agents_is_the_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt(monkeypatch, "none_a")
    assert find_run_of_job(str(tmp_path), None) is None
    record(tmp_path / "classify/other", ["torchelastic_x/none_b"])
    record(tmp_path / "classify/old", [])
    record(tmp_path / "detect/odd", {"torchelastic_x/none_a": 1})
    (tmp_path / "segment/broken").mkdir(parents=True)
    (tmp_path / "segment/broken/recipe.json").write_text("{")
    assert find_run_of_job(str(tmp_path), None) is None
    run = record(tmp_path / "classify/job", ["torchelastic_x/none_c", "torchelastic_x/none_a"])
    assert find_run_of_job(str(tmp_path), None) == RunOfJob(run, checkpoint=None, finished=False)
    (run / "checkpoint.pth").touch()
    assert find_run_of_job(str(tmp_path), None) == RunOfJob(run, run / "checkpoint.pth", finished=False)
    (run / "summary.json").touch()
    assert find_run_of_job(str(tmp_path), None) == RunOfJob(run, run / "checkpoint.pth", finished=True)
    attempt(monkeypatch, "none_d")  # another torchrun with the same id
    assert find_run_of_job(str(tmp_path), None) is None


def test_a_run_that_was_resumed_may_lie_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt(monkeypatch, "none_a")
    run = record(tmp_path / "elsewhere", ["torchelastic_x/none_a"])
    assert find_run_of_job(str(tmp_path / "runs"), None) is None
    assert find_run_of_job(str(tmp_path / "runs"), run) == RunOfJob(run, checkpoint=None, finished=False)


def test_without_torchrun_there_is_no_job(tmp_path: Path) -> None:
    record(tmp_path / "classify/job", [""])
    assert find_run_of_job(str(tmp_path), None) is None


def test_the_same_command_goes_on_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopped before the first checkpoint, stopped after it, and after its end: one folder, and the same weights."""
    command = ["train", "--output", str(tmp_path), "--name", "job", "--epochs", "2", "--steps-per-epoch", "4",
               "-b", "16", "--device", "cpu", "--model-kwargs", *NETWORK]  # fmt: skip
    assert main([*command, "--name", "undisturbed"]) == 0
    attempt(monkeypatch, "none_a")
    run = record(tmp_path / "classify/job", ["torchelastic_x/none_a"])  # as an attempt that died at its start
    stop = StopAfter(monkeypatch, epoch=1, update=2)
    assert main(command) != 0
    stop.undo()
    attempt(monkeypatch, "none_a", number=1)
    assert main(command) == 0
    assert main(command) == 0  # nothing is left to do
    assert capsys.readouterr().out.count(f"going on in {run}\n") == 3
    assert sorted(path.name for path in (tmp_path / "classify").iterdir()) == ["job", "undisturbed"]
    assert_same(weights_of(run), weights_of(tmp_path / "classify/undisturbed"))
    assert timeless_log(run) == timeless_log(tmp_path / "classify/undisturbed")
    attempt(monkeypatch, "none_b")
    assert main(command) == 0
    assert (tmp_path / "classify/job2/summary.json").exists()

"""Jobs that are stopped, killed and begun again: each row once, and nothing of another job."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from helpers.command_line import refusal
from predict.jobs.conftest import COUNT
from predict.jobs.test_rows import ROWS, predict, rows_in
from predict.test_predict import checkpoint, saved
from twins.predict import load_predictor
from twins.predict.jobs import folder as job_folder
from twins.predict.jobs import running
from twins.predict.jobs.decoding import ready_images
from twins.predict.jobs.opening import open_records
from twins.predict.jobs.plan import JobPlan
from twins.predict.jobs.records import ImageRecord
from twins.run_lock import only_run_in

KILLER = """
import os, random, signal, sys, time
os.environ["OMP_NUM_THREADS"] = "1"
from twins.cli import main
import twins.predict.jobs.running, twins.predict.jobs.opening, pyarrow.parquet
kills, longest, argv = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
rng = random.Random(0)
killed = 0
for attempt in range(kills + 1):
    child = os.fork()
    if child == 0:
        os._exit(main(argv))
    if attempt < kills:
        time.sleep(rng.uniform(0.2, 1) * longest)
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    killed += os.WIFSIGNALED(status)
print("killed", killed, "status", status)
"""


@pytest.fixture
def job(weights: dict[str, Path], sources: dict[str, str], tmp_path: Path) -> list[str]:
    """A command of three shards, but for `predict`, in a folder of its own."""
    argv = ["--format", "parquet", "--rows-per-shard", str(ROWS), "--out", str(tmp_path / "out")]
    return [sources["folder"], "--weights", str(weights["classify"]), *argv]


def test_a_job_goes_on_with_the_shards_that_are_not_there(
    job: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(*job) == 0
    first, second, third = sorted((tmp_path / "out" / "rows").iterdir())
    expected, kept = rows_in(tmp_path / "out"), [first.stat(), third.stat()]
    second.unlink()
    (second.parent / f".99999.{second.name}").write_bytes(b"half")
    capsys.readouterr()
    assert predict(*job) == 0
    out = capsys.readouterr().out
    assert f"2 of 3 shards are there; {ROWS} images to predict" in out
    assert sorted((tmp_path / "out" / "rows").iterdir()) == [first, second, third]
    assert [first.stat(), third.stat()] == kept
    assert rows_in(tmp_path / "out") == expected
    assert predict(*job) == 0
    assert "this job is finished" in capsys.readouterr().out


def test_killed_at_random_moments_it_leaves_the_rows_of_one_that_was_not(tmp_path: Path) -> None:
    weights, _ = checkpoint(tmp_path, "upernet")
    for i in range(60):
        saved(tmp_path / "images" / f"{i:03d}.png", 40 + i, 48, seed=i)
    argv = [str(tmp_path / "images"), "--weights", str(weights), "--format", "parquet", "--rows-per-shard", "5"]
    started = time.perf_counter()
    assert predict(*argv, "--out", tmp_path / "whole") == 0
    seconds = time.perf_counter() - started
    command = ["predict", *argv, "--device", "cpu", "--out", str(tmp_path / "killed")]
    done = subprocess.run(
        [sys.executable, "-c", KILLER, "5", str(seconds / 2), *command], capture_output=True, text=True, check=True
    )
    killed, status = map(int, re.findall(r"killed (\d+) status (\d+)", done.stdout)[-1])
    assert status == 0, done.stderr
    assert killed >= 2
    assert rows_in(tmp_path / "killed") == rows_in(tmp_path / "whole")
    assert len(rows_in(tmp_path / "killed")) == 60
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == ["job.json", "rows", "run.lock"]
    assert len(list((tmp_path / "killed" / "rows").iterdir())) == 12


@pytest.mark.parametrize(("changed", "message"), [
    (("--topk", "2"), r"--topk was null, not 2"),
    (("--rows-per-shard", "5"), r"--rows-per-shard was 4, not 5"),
    (("--format", "csv"), '--format was "parquet", not "csv"'),
    (("--dtype", "fp32"), '--dtype was null, not "fp32"'),
    (("--decoder", "turbo"), '--decoder was "pillow", not "turbo"'),
    (("--embed",), r'--embed-dtype was null, not "float32"'),
])  # fmt: skip
def test_another_job_is_refused(
    job: list[str], capsys: pytest.CaptureFixture[str], changed: tuple[str, ...], message: str
) -> None:
    assert predict(*job) == 0
    line = refusal(capsys, "predict", *job, *changed)
    assert f"holds another job: {message}" in line
    assert "name another --out" in line


def test_other_weights_and_other_images_are_refused(
    job: list[str], weights: dict[str, Path], sources: dict[str, str], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    images, copy = tmp_path / "images", tmp_path / "copy.pth"
    shutil.copytree(sources["folder"], images)
    shutil.copy(weights["classify"], copy)
    job[0], job[2] = str(images), str(copy)
    assert predict(*job) == 0
    (images / "0" / "000.png").rename(images / "0" / "zzz.png")
    assert f"it is of {COUNT} images of {images}" in refusal(capsys, "predict", *job)
    (images / "0" / "zzz.png").rename(images / "0" / "000.png")
    assert predict(*job) == 0
    other, _ = checkpoint(tmp_path, "classify", meta={"name": "twins_svt_small", "recipe": {"name": "b"}})
    shutil.copy(other, copy)
    assert "the weights were" in refusal(capsys, "predict", *job)


def test_moved_images_and_another_pace_are_the_same_job(
    job: list[str], sources: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(*job) == 0
    shutil.copytree(sources["folder"], tmp_path / "elsewhere")
    job[0] = str(tmp_path / "elsewhere")
    capsys.readouterr()
    assert predict(*job, "--workers", "1", "--batch-size", "2", "--bad-images", "skip") == 0
    assert "this job is finished" in capsys.readouterr().out


def test_without_a_folder_the_same_command_finds_its_own(
    weights: dict[str, Path], sources: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    argv = [sources["folder"], "--weights", str(weights["classify"]), "--format", "csv"]
    assert predict(*argv) == 0
    assert predict(*argv, "--topk", "1") == 0
    capsys.readouterr()
    assert predict(*argv, "--topk", "1") == 0
    out = capsys.readouterr().out
    assert "this job is finished" in out
    assert out.rstrip().endswith(os.path.join("runs", "predict", "twins_svt_small2", "rows"))
    assert sorted(path.name for path in Path("runs", "predict").iterdir()) == ["twins_svt_small", "twins_svt_small2"]


def test_a_folder_of_something_else_is_refused(
    job: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    assert "there is something in it already" in refusal(capsys, "predict", *job)
    assert predict(*job, "--exist-ok") == 0
    (tmp_path / "out" / "job.json").write_text('{"format": 9}')
    assert "job.json: is not the plan of a job (of another version of twins)" in refusal(capsys, "predict", *job)
    (tmp_path / "out" / "job.json").write_text("nonsense")
    assert "is not the plan of a job" in refusal(capsys, "predict", *job)


def test_two_processes_do_not_write_to_one_folder(
    job: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(*job) == 0
    next((tmp_path / "out" / "rows").iterdir()).unlink()
    with only_run_in(tmp_path / "out"):
        line = refusal(capsys, "predict", *job)
    assert "another run writes there" in line
    assert "give another --out" in line


def test_a_shard_that_cannot_be_written_leaves_those_before(
    job: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(self: object, rows: object) -> None:
        if len(list((tmp_path / "out" / "rows").glob("part*"))) == 1:
            raise OSError(28, "No space left on device")
        write(self, rows)

    write = pq.ParquetWriter.write_batch
    monkeypatch.setattr(pq.ParquetWriter, "write_batch", full)
    line = refusal(capsys, "predict", *job)
    assert "part-00001.parquet: cannot be written (No space left on device); is the disk full?" in line
    assert [path.name for path in (tmp_path / "out" / "rows").iterdir()] == ["part-00000.parquet"]
    monkeypatch.undo()
    assert predict(*job) == 0
    assert len(rows_in(tmp_path / "out")) == COUNT


def test_images_that_are_all_gone_are_no_unreadable_ones(
    job: list[str], sources: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def mount_is_lost(*of_plan: Any) -> list[int]:
        shutil.rmtree(tmp_path / "mount", ignore_errors=True)
        return left(*of_plan)

    left = running.shards_left
    for kind in ("folder", "folder of tar"):
        shutil.copytree(sources[kind], tmp_path / "mount")
        monkeypatch.setattr(running, "shards_left", mount_is_lost)
        job[0], job[-1] = str(tmp_path / "mount"), str(tmp_path / f"out of {kind}")
        line = refusal(capsys, "predict", *job, "--bad-images", "skip")
        assert "gone or empty, with all the images in it (is the mount gone?)" in line
        assert list(Path(job[-1]).rglob("part-*")) == []
        monkeypatch.undo()


def test_no_more_images_are_read_than_will_soon_be_needed(weights: dict[str, Path], files: list[Path]) -> None:
    taken = []

    def records() -> Iterator[ImageRecord]:
        for number in range(10_000):
            taken.append(number)
            yield ImageRecord(str(number), files[number % COUNT])

    with closing(ready_images(load_predictor(weights["classify"], "cpu"), records(), workers=2, ahead=5)) as ready:
        names = [next(ready).name for _ in range(40)]
    assert names == [str(number) for number in range(40)]
    assert len(taken) <= 40 + 5 + 1


def test_a_plan_reads_back_and_knows_its_shards() -> None:
    plan = JobPlan("a.pth", "0" * 64, {"topk": 5}, ["file"], ["x"], 10, "1" * 64, "csv", 4)
    again = JobPlan.from_json(plan.to_json(), Path("job.json"))
    assert again.difference(plan) is None
    assert json.loads(plan.to_json())["format"] == 1
    assert [plan.rows_of(shard) for shard in range(plan.shards)] == [range(0, 4), range(4, 8), range(8, 10)]
    assert job_folder.shard_file(Path("out"), plan, 2) == Path("out", "rows", "part-00002.csv")


def test_listings_keep_little_of_an_image(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("".join(f"photos/{i:09d}.jpg\n" for i in range(1000)))
    images = open_records([str(tmp_path / "list.txt")]).images  # type: ignore[attr-defined]
    kept = len(images.paths._bytes) + images.paths._ends.nbytes + images.starts.nbytes
    assert kept < 1000 * (len(str(tmp_path / "photos" / "000000000.jpg")) + 13)

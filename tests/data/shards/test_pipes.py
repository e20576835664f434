"""Shards through pipes: fetched once, tried again, reported by their command, and run for nobody but the user."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from helpers.command_line import refusal
from helpers.shards import labelled, write_tar
from twins.data.classify.layouts import open_labelled
from twins.data.shards import pipes
from twins.data.shards.pipes import arguments, fetched, file_name, spool_folder
from twins.errors import TwinsError
from twins.recipes import ClassifyRecipe

CUT = "import sys; sys.stdout.buffer.write(open(sys.argv[1], 'rb').read()[:1500])"
# Fails so many times, by the lines in a file, and then delivers.
FLAKY = """
import pathlib, sys
tar, tries, failures = map(pathlib.Path, sys.argv[1:])
with tries.open("a") as file:
    file.write("x\\n")
if len(tries.read_text().split()) <= int(failures.name):
    sys.exit("the network is down")
sys.stdout.buffer.write(tar.read_bytes())
"""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipes, "PAUSES", (0.01, 0.01))


@pytest.fixture
def tar(tmp_path: Path) -> Path:
    return write_tar(tmp_path / "x/train-0.tar", labelled(a=0, b=1, c=0, d=1))


def python(script: Path, content: str) -> str:
    script.write_text(content)
    return f"pipe:{sys.executable} {script}"


def test_images_through_pipes(tar: Path, tmp_path: Path) -> None:
    write_tar(tmp_path / "x/train-1.tar", labelled(e=1))
    write_tar(tmp_path / "x/val-0.tar", labelled(f=1))
    recipe = ClassifyRecipe(
        data=f"pipe:cat {tmp_path}/x/train-{{0..1}}.tar",
        val_shards=f"pipe:cat {tmp_path}/x/val-0.tar",
        shard_cache=str(tmp_path / "cache"),
        output=str(tmp_path / "runs"),
    )
    train, val = open_labelled(recipe)
    assert train is not None
    assert train.name(4) == f"pipe:cat {tmp_path}/x/train-1.tar/e.png"
    assert [train.open(4, 3).size, *train.labels, *val.labels] == [(8, 6), 0, 1, 0, 1, 1, 1]
    for path in (tmp_path / "x").iterdir():
        path.unlink()
    again, _ = open_labelled(recipe)  # from the cache
    assert again is not None
    assert again.name(4) == train.name(4)


def test_a_split_names_pipes_alike_wherever_they_are_kept(tar: Path, tmp_path: Path) -> None:
    splits = []
    for cache in ("one", "two"):
        recipe = ClassifyRecipe(data=f"pipe:cat {tar}", output=str(tmp_path / "runs"), val_split=0.5)
        splits.append(open_labelled(recipe.replace(shard_cache=str(tmp_path / cache)))[1].split)
    assert splits[0] == splits[1]
    assert splits[0] is not None
    assert splits[0].val[0].startswith(f"pipe:cat {tar}/")


def test_a_program_that_fails_is_started_again(tar: Path, tmp_path: Path) -> None:
    flaky = python(tmp_path / "flaky.py", FLAKY)
    (shard,) = fetched([f"{flaky} {tar} {tmp_path}/tries 2"], str(tmp_path / "cache"))
    assert shard.path.read_bytes() == tar.read_bytes()
    assert (tmp_path / "tries").read_text() == "x\n" * 3
    with pytest.raises(TwinsError) as error:
        fetched([f"{flaky} {tar} {tmp_path}/more 3"], str(tmp_path / "cache"))
    assert str(error.value) == (f"{flaky} {tar} {tmp_path}/more 3: exit status 1 (the network is down), tried 3 times")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [shard.path.name]


def test_what_stops_early_is_no_shard(tar: Path, tmp_path: Path) -> None:
    cut = python(tmp_path / "cut.py", CUT)
    with pytest.raises(TwinsError, match=r"what it wrote: .*cut short.*, tried 3 times"):
        fetched([f"{cut} {tar}"], str(tmp_path / "cache"))
    assert list((tmp_path / "cache").iterdir()) == []
    with pytest.raises(TwinsError, match=r"pipe:no-such-program x: cannot be started \(No such file or directory\)"):
        fetched(["pipe:no-such-program x"], str(tmp_path / "cache"))


def test_a_silent_program_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipes, "SILENCE", 0.1)
    monkeypatch.setattr(pipes, "ATTEMPTS", 1)
    with pytest.raises(TwinsError, match=r"pipe:sleep 1000: no byte for 0.1 s, tried 1 times"):
        fetched(["pipe:sleep 1000"], str(tmp_path / "cache"))


def test_the_disk_is_not_filled(tar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipes, "SHARE_OF_DISK", 0.0)
    with pytest.raises(TwinsError, match="name a folder with more room by --shard-cache"):
        fetched([f"pipe:cat {tar}"], str(tmp_path / "cache"))
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize(("pipe", "message"), [
    ("pipe:", "no command"), ("pipe:cat 'x", "does not parse"), ("pipe:cat x | gunzip", "runs without a shell"),
    ("pipe:cat x > y", "runs without a shell"), ("pipe:cat $HOME/x.tar", "runs without a shell"),
    ("pipe:a&&b", "runs without a shell"), ("pipe:cat `ls`", "runs without a shell"),
])  # fmt: skip
def test_commands_that_need_a_shell(pipe: str, message: str) -> None:
    with pytest.raises(TwinsError, match=message):
        arguments(pipe)


def test_commands_as_words() -> None:
    assert arguments("pipe:curl -sf 'https://h/x.tar?a=1&b=2'") == ["curl", "-sf", "https://h/x.tar?a=1&b=2"]


def test_names_in_the_cache() -> None:
    one, other = file_name("pipe:cat a/train-01.tar"), file_name("pipe:cat b/train-01.tar")
    assert one.startswith("train-01-")
    assert one.endswith(".tar")
    assert one != other
    assert file_name("pipe:sh fetch.sh 3").startswith("shard-")
    assert "twins-shards-" in spool_folder(None).name
    assert spool_folder("kept") == Path("kept")


def test_a_pipe_from_a_file_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fields = ClassifyRecipe(data=f"pipe:touch {tmp_path}/ran.tar", val_shards="pipe:touch y.tar").to_dict()
    assert fields["data"].startswith("pipe:")
    recipe = ClassifyRecipe.from_dict(fields, "file")
    with pytest.raises(TwinsError, match=r"pipe:touch .*: a command from a checkpoint or file is not run unasked"):
        open_labelled(recipe)
    import json

    (tmp_path / "recipe.json").write_text(json.dumps(fields))
    argv = ["train", "--recipe", str(tmp_path / "recipe.json"), "--output", str(tmp_path / "runs"), "--device", "cpu"]
    assert "is not run unasked" in refusal(capsys, *argv)
    assert not (tmp_path / "ran.tar").exists()

"""Which shards `--data` names, and what is said of names that cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.shards import labelled, write_tar
from twins.data.shards.naming import are_shards, expand_braces, named_shards, parts_beside, shards_in
from twins.errors import TwinsError


@pytest.mark.parametrize(("pattern", "names"), [
    ("a.tar", ["a.tar"]),
    ("t-{08..11}.tar", ["t-08.tar", "t-09.tar", "t-10.tar", "t-11.tar"]),
    ("{train,val}-{0..1}.tar", ["train-0.tar", "train-1.tar", "val-0.tar", "val-1.tar"]),
    ("pipe:cat x-{5..5}.tar", ["pipe:cat x-5.tar"]),
    ("{a,}.tar", ["a.tar", ".tar"]),
])  # fmt: skip
def test_braces_stand_for_several(pattern: str, names: list[str]) -> None:
    assert expand_braces(pattern) == names


@pytest.mark.parametrize(("pattern", "message"), [
    ("a-{0..3.tar", "braces that do not pair up"),
    ("a-0..3}.tar", "braces that do not pair up"),
    ("a-{{0..3}}.tar", "braces that do not pair up"),
    ("a-{3..0}.tar", "'{3..0}' is no range: write {000000..000099}, the lower number first"),
    ("a-{}.tar", "'{}' is no range"),
    ("a-{0..x}.tar", "'{0..x}' is no range"),
    ("a-{0..99999999}.tar", "stands for 100000000 shards, more than 1000000"),
    ("{0..9999}-{0..9999}.tar", "stands for 100000000 shards, more than 1000000"),
    ("x.tar.gz", "x.tar.gz: compressed; samples are read by their position: unpack it to a plain .tar"),
    ("https://host/x.tar", "let a program fetch it: --data 'pipe:curl -sf https://host/x.tar'"),
    ("not-run-pipe:rm x.tar", "pipe:rm x.tar: a command from a checkpoint or file is not run unasked"),
])  # fmt: skip
def test_names_that_cannot_be_read(pattern: str, message: str) -> None:
    with pytest.raises(TwinsError) as error:
        named_shards(pattern)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_every_file_of_a_pattern_must_be_there(tmp_path: Path) -> None:
    for number in (0, 2):
        write_tar(tmp_path / f"t-{number}.tar", labelled(a=0))
    assert named_shards(f"{tmp_path}/t-*.tar") == [f"{tmp_path}/t-0.tar", f"{tmp_path}/t-2.tar"]
    with pytest.raises(TwinsError, match=r"t-1\.tar: no such shard; 1 of the 3 that .*t-\{0\.\.2\}\.tar names are"):
        named_shards(f"{tmp_path}/t-{{0..2}}.tar")
    with pytest.raises(TwinsError, match=r"x-\*\.tar: no such shard$"):
        named_shards(f"{tmp_path}/x-*.tar")


def test_what_is_meant_as_shards() -> None:
    for data in ("a.tar", "A.TAR", "t-{0..3}.tar", "pipe:cat x", "x.tgz", "not-run-pipe:cat x"):
        assert are_shards(data)
    for data in ("flowers", "digits", "tar", "annotations.json"):
        assert not are_shards(data)


def test_parts_by_folders_or_by_names(tmp_path: Path) -> None:
    beside, inside, whole = (tmp_path / name for name in ("beside", "inside", "whole"))
    for name in ("train-000.tar", "train-001.tar", "val-000.tar", "extra.tar", "._train-000.tar", "notes.txt"):
        write_tar(beside / name, {})
    for name in ("train/0.tar", "validation/1.tar"):
        write_tar(inside / name, {})
    write_tar(whole / "0.tar", {})

    def names(root: Path) -> dict[str, list[str]]:
        return {part: [path.name for path in paths] for part, paths in shards_in(root).items()}

    assert names(beside) == {"train": ["train-000.tar", "train-001.tar"], "val": ["val-000.tar"]}
    assert names(inside) == {"train": ["0.tar"], "val": ["1.tar"]}
    assert names(whole) == {"": ["0.tar"]}
    assert names(tmp_path / "nowhere") == {}
    found = parts_beside([f"{beside}/train-001.tar"])
    assert {part: [path.name for path in paths] for part, paths in found.items()} == {"val": ["val-000.tar"]}
    assert parts_beside([f"{beside}/train-001.tar", f"{beside}/extra.tar"]) == {}

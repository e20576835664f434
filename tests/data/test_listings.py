"""A list of files that is kept, used while nothing changed, and made again where something did."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from twins.data import file_walk, listings
from twins.data.file_walk import WalkedFiles, walk_files
from twins.data.listings import kept_at, kept_listings


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two folders of images, one with a folder in it, as old as data is."""
    monkeypatch.setattr(listings, "MANY", 1)
    for name in ("a/1.png", "a/deep/2.png", "a/notes.raw", "b/3.png"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).touch()
    age(tmp_path / "data")
    return tmp_path / "data"


def age(root: Path) -> None:
    """Let the folders have been changed last an hour ago."""
    for folder, _, _ in os.walk(root):
        os.utime(folder, ns=(0, time.time_ns() - 3600 * 10**9))


@pytest.fixture
def walk(root: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], tuple[list[WalkedFiles], list[str]]]:
    """Walk both folders as a process would that begins; what is there, and which folders were read from the disk."""
    afresh: list[str] = []

    def counted(folder: Path) -> WalkedFiles:
        afresh.append(folder.name)
        return file_walk.walk_afresh(folder)

    monkeypatch.setattr(listings, "walk_afresh", counted)

    def begin() -> tuple[list[WalkedFiles], list[str]]:
        afresh.clear()
        with kept_listings(str(root), root.parent / "runs"):
            return [walk_files(root / name) for name in ("a", "b")], list(afresh)

    return begin


def test_folders_are_walked_once(root: Path, walk: Callable[[], tuple[list[WalkedFiles], list[str]]]) -> None:
    first, read = walk()
    assert read == ["a", "b"]
    again, read = walk()
    assert read == []
    assert again == first == [file_walk.walk_afresh(root / name) for name in ("a", "b")]
    assert [path.name for path in again[0].images] == ["1.png", "2.png"]
    assert kept_at(str(root), root.parent / "runs").parent == root.parent / "runs/listings"
    assert not any("listings" in str(path) for path in root.rglob("*"))


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "a/deep/new.png").touch(),
        lambda root: (root / "a/1.png").unlink(),
        lambda root: (root / "a/1.png").rename(root / "a/0.png"),
        lambda root: (root / "a/deep").rename(root / "a/deeper"),
        lambda root: os.utime(root / "a", ns=(0, 7)),
    ],
    ids=["added below", "removed", "renamed", "a folder renamed", "touched"],
)
def test_a_change_is_noticed(
    root: Path, walk: Callable[[], tuple[list[WalkedFiles], list[str]]], change: Callable[[Path], None]
) -> None:
    walk()
    change(root)
    found, read = walk()
    assert read == ["a"]
    assert found == [file_walk.walk_afresh(root / name) for name in ("a", "b")]


def test_an_added_file_is_noticed_even_where_the_time_says_nothing(
    root: Path, walk: Callable[[], tuple[list[WalkedFiles], list[str]]]
) -> None:
    walk()
    before = (root / "b").stat().st_mtime_ns
    (root / "b/4.png").touch()
    os.utime(root / "b", ns=(0, before))
    found, read = walk()
    assert read == ["b"]
    assert len(found[1].images) == 2


def test_folders_that_have_just_changed_are_not_kept(
    root: Path, walk: Callable[[], tuple[list[WalkedFiles], list[str]]]
) -> None:
    (root / "b/4.png").touch()
    walk()
    assert walk()[1] == ["b"]


def test_short_lists_are_not_kept(
    root: Path, walk: Callable[[], tuple[list[WalkedFiles], list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listings, "MANY", 5)
    walk()
    assert not (root.parent / "runs").exists()


@pytest.mark.parametrize("content", ["", "1 x\n", "\x00" * 99, '1 "/a"\t{"folders": [], "files": []}\n', "2 {}\t{}\n"])
def test_a_damaged_list_is_made_again(
    root: Path, walk: Callable[[], tuple[list[WalkedFiles], list[str]]], content: str
) -> None:
    first, _ = walk()
    kept_at(str(root), root.parent / "runs").write_text(content)
    found, read = walk()
    assert (found, read) == (first, ["a", "b"])
    assert walk()[1] == []


def test_odd_names_are_kept(root: Path, walk: Callable[[], tuple[list[WalkedFiles], list[str]]]) -> None:
    for name in ("é.png", "new\nline.png", os.fsdecode(b"\xe9.png"), 'quo"te.png'):
        (root / "a" / name).touch()
    age(root)
    first, _ = walk()
    assert walk() == (first, [])
    assert len(first[0].images) == 6


def test_where_nothing_can_be_written_it_is_said(
    root: Path, walk: Callable[[], tuple[list[WalkedFiles], list[str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    (root.parent / "runs").write_text("a file")
    walk()
    assert "without that file the next run lists all files again" in capsys.readouterr().err

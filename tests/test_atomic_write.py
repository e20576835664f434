"""A file or folder is the old one or the new one, and what went wrong is one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from twins.atomic_write import atomic_file, atomic_folder
from twins.errors import TwinsError

FULL = OSError(28, "No space left on device")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_half_a_file(path: Path, error: BaseException) -> None:
    with atomic_file(path) as beside:
        beside.write_text("half")
        raise error


def write_half_a_folder(path: Path, error: BaseException) -> None:
    with atomic_folder(path) as beside:
        (beside / "a.txt").write_text("half")
        raise error


def test_a_file_is_replaced_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "tables" / "a.csv"
    for old, new in ((None, "first"), ("first", "second")):
        with atomic_file(path) as beside:
            beside.write_text(new)
            assert (beside.suffix, beside.parent) == (".csv", path.parent)
            assert (path.read_text() if path.exists() else None) == old
        assert path.read_text() == new
    assert names(path.parent) == ["a.csv"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("a bug")])
def test_an_interruption_leaves_the_old_file_alone(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(type(error)):
        write_half_a_file(path, error)
    assert names(tmp_path) == ["a.txt"]
    assert path.read_text() == "old"


def test_what_cannot_be_written_is_named_with_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with pytest.raises(TwinsError) as full:
        write_half_a_file(path, FULL)
    assert str(full.value) == f"{path}: cannot be written (No space left on device); is the disk full?"
    assert names(tmp_path) == []
    no_folder = atomic_file(Path("/dev/null/a.txt"), remedy="choose another --out")
    with (
        pytest.raises(TwinsError, match=r"^/dev/null/a\.txt: cannot be written \(.*\); choose another --out$"),
        no_folder,
    ):
        pass


def test_a_folder_appears_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "sets" / "digits"
    with atomic_folder(path) as beside:
        (beside / "a.txt").write_text("a")
        assert not path.exists()
    assert names(path.parent) == ["digits"]
    assert names(path) == ["a.txt"]


def test_the_folder_of_a_faster_process_stays(tmp_path: Path) -> None:
    path = tmp_path / "digits"
    with atomic_folder(path) as beside:
        (beside / "late.txt").write_text("mine")
        path.mkdir()
        (path / "early.txt").write_text("theirs")
    assert names(tmp_path) == ["digits"]
    assert names(path) == ["early.txt"]


@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt()])
def test_half_a_folder_is_removed(tmp_path: Path, error: BaseException) -> None:
    raised = TwinsError if error is FULL else KeyboardInterrupt
    with pytest.raises(raised) as caught:
        write_half_a_folder(tmp_path / "digits", error)
    assert names(tmp_path) == []
    if raised is TwinsError:
        what = f"{tmp_path / 'digits'}: cannot be written (No space left on device); is the disk full?"
        assert str(caught.value) == what

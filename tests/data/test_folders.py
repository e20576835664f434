"""Which names of folders, files and keys mean which part of the data."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.image_files import write_image
from twins.data.folders import missing_part, part_folders, part_named_in, part_of, unused_folders


@pytest.mark.parametrize(("name", "part"), [
    ("train", "train"), ("Training", "train"), ("TRAIN", "train"), ("train2017", "train"), ("training_set", "train"),
    ("trainset", "train"), ("train-images", "train"), ("val", "val"), ("Valid", "val"), ("validation", "val"),
    ("val 2", "val"), ("Testing", "test"), ("test", "test"), ("test2017", "test"), ("Test Set", "test"),
    ("trainval", None), ("train_val2018", None), ("training shoes", None), ("trained", None), ("interval", None),
    ("cat", None), ("set", None), ("", None), ("2017", None), ("latest", None),
])  # fmt: skip
def test_a_part_is_plainly_called_so(name: str, part: str | None) -> None:
    assert part_of(name) == part


@pytest.mark.parametrize(("name", "part"), [
    ("instances_val2017", "val"), ("seg_test", "test"), ("my-training.v3", "train"), ("train_and_val", None),
    ("image_info_test-dev2017", "test"), ("instances_default", None), ("intervals", None),
])  # fmt: skip
def test_a_part_is_mentioned_among_other_words(name: str, part: str | None) -> None:
    assert part_named_in(name) == part


def test_of_folders_of_one_part_the_usual_one_is_taken(tmp_path: Path) -> None:
    for name in ("valid", "Val", "train", "extra", "testing", ".hidden", "__MACOSX", "@eaDir"):
        (tmp_path / name).mkdir()
    (tmp_path / "test.txt").write_text("no folder")
    parts, others = part_folders(tmp_path)
    assert {part: folder.name for part, folder in parts.items()} == {"train": "train", "val": "Val", "test": "testing"}
    assert list(parts) == ["train", "val", "test"]
    assert [folder.name for folder in others] == ["valid", "extra"]
    assert part_folders(tmp_path / "nowhere") == ({}, [])


def test_unused_folders_are_those_with_images(tmp_path: Path) -> None:
    write_image(tmp_path / "extra" / "deep" / "a.png")
    (tmp_path / "notes").mkdir()
    folders = [tmp_path / "extra", tmp_path / "notes"]
    assert unused_folders(tmp_path, folders) == (f"{tmp_path}: not read, as none of train/, val/ and test/: extra/",)
    assert unused_folders(tmp_path, folders[1:]) == ()


def test_the_parts_that_are_there_are_offered_for_one_that_is_not() -> None:
    assert str(missing_part("d", "test", {"val": 1, "train": 2})) == (
        "d: no test images there; pass --part train or val for those that are there"
    )
    assert str(missing_part("d", "val", ())) == "d: no validation images there"

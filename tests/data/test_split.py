"""Which images are for validation: named by the data, remembered from a run, or drawn."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from helpers.tiny import make_images
from twins.data.classify.dataset import LabelledImages
from twins.data.classify.layouts import open_labelled
from twins.data.split import data_home, name_below
from twins.errors import TwinsError
from twins.recipes import ClassifyRecipe, Split
from twins.tasks.classify import Classification


def opened(root: Path, **fields: Any) -> tuple[LabelledImages | None, LabelledImages]:
    return open_labelled(ClassifyRecipe(data=str(root), **fields))


def evaluated(root: Path, **fields: Any) -> LabelledImages:
    return open_labelled(ClassifyRecipe(data=str(root), **fields), evaluation_only=True)[1]


def names(images: LabelledImages | None, root: Path) -> set[str]:
    assert images is not None
    return {Path(images.name(i)).relative_to(root).as_posix() for i in range(len(images))}


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    make_images(tmp_path, {"a": 0, "b": 50}, data=10)
    return tmp_path / "data"


def split_of(root: Path) -> Split:
    split = opened(root)[1].split
    assert split is not None
    return split


def test_a_drawn_split_is_told_and_given_out_by_name(flat: Path) -> None:
    train, val = opened(flat, val_split=0.3, seed=5)
    assert train is not None
    assert val.split == Split(tuple(sorted(names(val, flat))), 20)
    assert (train.part, val.part, train.split) == ("train", "val", None)
    assert val.warnings == (
        f"{flat}: no validation images named; 6 of 20 images are set aside for validation (--val-split 0.3, seed 5)",
    )
    assert train.warnings == ()


def test_images_added_later_are_for_training(flat: Path) -> None:
    split = split_of(flat)
    for file in list(flat.glob("*/*.png")):
        shutil.copy(file, file.with_stem(f"{file.stem}-new"))
    train, val = opened(flat, split=split)
    assert names(val, flat) == set(split.val)
    assert train is not None
    assert len(train) == 36
    assert val.warnings == (
        f"{flat}: 20 images were added since the validation images were set aside: they are for training",
    )
    assert val.split == Split(split.val, 40)
    assert opened(flat, split=val.split)[1].warnings == ()  # said once
    assert names(opened(flat)[1], flat) != set(split.val)  # which a new run draws anew


def test_images_that_are_gone_are_told_and_not_replaced(flat: Path) -> None:
    split = split_of(flat)
    (flat / split.val[0]).unlink()
    trained_on = next(name for name in names(opened(flat, split=split)[0], flat))
    (flat / trained_on).unlink()
    _, val = opened(flat, split=split)
    assert names(val, flat) == set(split.val[1:])
    assert val.warnings == (f"{flat}: 1 of 4 validation images are gone", f"{flat}: 1 training images are gone")
    assert val.split == Split(split.val, 19)  # of which one may come back


def test_a_split_whose_images_are_all_gone_is_drawn_anew(flat: Path) -> None:
    _, val = opened(flat, split=Split(("x/1.png", "x/2.png"), 10))
    assert names(val, flat) == set(split_of(flat).val)
    assert "its run's validation images are gone; 4 of 20 images are set aside" in val.warnings[0]


def test_the_moved_folder_has_the_same_split(flat: Path, tmp_path: Path) -> None:
    """Even where, as in evaluation of other data, no split would be drawn; another folder is measured whole."""
    split = split_of(flat)
    moved = tmp_path / "elsewhere" / "images"
    shutil.move(flat, moved)
    assert names(opened(moved, split=split)[1], moved) == set(split.val)
    val = evaluated(moved, split=split, val_split=0.0)
    assert (names(val, moved), val.part) == (set(split.val), "val")
    assert val.warnings == (f"{moved}: holds the images of the run, of which those for validation are measured",)
    next((moved / "a").iterdir()).unlink()
    assert len(evaluated(moved, split=split, val_split=0.0)) == 19  # fewer images than the run had: others
    assert evaluated(moved, split=split, val_split=0.0).part == ""


def test_a_split_is_no_matter_where_the_data_names_validation_images(images: Path) -> None:
    _, val = opened(images, split=Split(("train/ant/00.png",), 36))
    assert (len(val), val.split, val.part) == (15, None, "val")


def test_both_sides_of_a_split_can_be_measured(flat: Path) -> None:
    split = split_of(flat)
    assert len(evaluated(flat, split=split, part="train")) == 16
    assert names(evaluated(flat, split=split, part="train"), flat).isdisjoint(split.val)
    with pytest.raises(TwinsError, match=r"data: no test images there$"):
        evaluated(flat, split=split, part="test")


def test_each_part_can_be_measured(tmp_path: Path) -> None:
    root = make_images(tmp_path, {"a": 0, "b": 50}, Training=3, Val=2, TEST=1)
    assert [len(evaluated(root, part=part)) for part in ("train", "val", "test")] == [6, 4, 2]
    assert [evaluated(root, part=part).part for part in ("train", "val", "test")] == ["train", "val", "test"]
    train, val = opened(root, part="test")  # which is nothing to training
    assert (len(train or ()), len(val)) == (6, 4)


def test_images_that_are_in_both_parts(tmp_path: Path) -> None:
    root = make_images(tmp_path, {"a": 0, "b": 50}, images=2)
    (root / "meta").mkdir()
    for part, own in (("train", "00"), ("val", "01")):
        rows = f"images/a/{own}.png 0\nimages/b/00.png 1\n"
        (root / "meta" / f"{part}.txt").write_text(rows)
    train, val = opened(root)
    assert train is not None
    line = f"images that are in training as well: {root / 'images' / 'b' / '00.png'}"
    assert val.warnings.count(line) == 1
    task = Classification(ClassifyRecipe(data=str(root)))
    task.datasets()
    assert line in task.notes


def test_names_count_from_the_same_folder_however_the_data_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    homes = ["d", "./d", "d/", "d/data.yaml", "d/annotations/instances_default.json", "d/all.JSON"]
    assert {data_home(data) for data in homes} == {Path("d")}
    assert name_below(Path("d"), "d/a/1.png") == "a/1.png"
    assert name_below(Path("d"), str(Path("d/a/1.png").absolute())) == "a/1.png"
    assert name_below(Path("d"), "e/1.png") == "../e/1.png"
    assert name_below(Path("d"), "d/e\u0301.png") == "\u00e9.png"  # composed, as another system may have it
    monkeypatch.chdir("/")
    assert name_below(Path("."), "a/1.png") == "a/1.png"


def test_a_split_reads_back() -> None:
    split = Split(("a/1.png", "b/2.png"), 10)
    assert Split.from_dict(split.to_dict()) == split
    recipe = ClassifyRecipe(split=split, part="test")
    assert {"split", "part"}.isdisjoint(recipe.to_dict())
    assert ClassifyRecipe.from_dict(recipe.to_dict(), "x.json") == ClassifyRecipe()

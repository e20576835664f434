"""Grey levels that nobody named are told from class numbers, and each hint names the real cause."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from twins.data.check_results import TRAINING
from twins.data.masks.checks import mask_statistics
from twins.data.masks.grey_levels import advice_on_values, grey_level_error
from twins.data.masks.layouts import read_mask_folders
from twins.errors import TwinsError
from twins.recipes import SegmentRecipe

CLASS_NUMBERS = {
    "two": {0: 90, 1: 10},
    "with 255": {0: 90, 1: 5, 255: 5},
    "organs, mostly background": {0: 9500, **dict.fromkeys(range(1, 21), 3)},
    "some of Cityscapes' numbers": {7: 500, 26: 100, 33: 20},
    "a third of ADE20K's": {label: 100 - label // 2 for label in range(0, 150, 3)},
    "all of 150": dict.fromkeys(range(150), 10),
}


@pytest.mark.parametrize("case", CLASS_NUMBERS)
def test_class_numbers_are_no_grey_levels(case: str) -> None:
    assert grey_level_error(CLASS_NUMBERS[case]) is None


def test_levels_of_a_palette() -> None:
    assert grey_level_error({0: 900, 38: 50, 75: 30, 113: 20}) == (
        "values 0, 38, 75, 113 look like grey levels, not class numbers 0 to 3; write into classes.txt a line for "
        "each: `name0,0,0,0` `name1,38,38,38` `name2,75,75,75` `name3,113,113,113`; if they are class numbers, name "
        "all of 0 to 113 there, one a line"
    )


@pytest.mark.parametrize(("level", "threshold"), [(128, 64), (254, 127)])
def test_two_levels(level: int, threshold: int) -> None:
    error = grey_level_error({0: 900, level: 100})
    assert error is not None
    assert (
        f"values 0, {level} look like grey levels, not class numbers 0 to 1; pass --mask-threshold {threshold}, or "
        in error
    )
    assert f"`name1,{level},{level},{level}`" in error


def smooth_masks(root: Path, parts: tuple[str, ...] = ("train", "val")) -> None:
    for part in parts:
        for i in range(3):
            mask = np.zeros((48, 64), dtype=np.uint8)
            mask[10:30, 10 + i : 40 + i] = 255
            for folder in ("images", "masks"):
                (root / folder / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).filter(ImageFilter.GaussianBlur(1.5)).save(root / f"masks/{part}/{i}.png")
            Image.new("RGB", (64, 48)).save(root / f"images/{part}/{i}.jpg")


def check(root: Path, **fields: object) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Errors, and rows of the table."""
    recipe = SegmentRecipe(data=str(root), workers=0, img_size=32, **fields)  # type: ignore[arg-type]
    train, _ = read_mask_folders(recipe)
    assert train is not None
    statistics = mask_statistics({TRAINING: train}, recipe)
    return statistics.errors, statistics.rows


def test_soft_edges_stop_the_check_and_a_threshold_reads_them(tmp_path: Path) -> None:
    smooth_masks(tmp_path)
    (error,), rows = check(tmp_path)
    assert rows == ()
    assert error.startswith(f"training: {tmp_path / 'masks/train'}: ")
    assert "values up to 255, most of them rare, look like grey levels with anti-aliased edges" in error
    assert "pass --mask-threshold 128 for two classes" in error
    errors, rows = check(tmp_path, mask_threshold=128)
    assert errors == ()
    assert [row[:2] for row in rows] == [("0", "3"), ("1", "3")]
    (tmp_path / "classes.txt").write_text("rest\nthing\n")
    (error,), _ = check(tmp_path)
    assert "outside the 2 classes; " in error or "cannot be a class; " in error
    assert "grey levels with anti-aliased edges: pass --mask-threshold 128" in error
    errors, rows = check(tmp_path, mask_threshold=128)
    assert errors == ()
    assert [row[:2] for row in rows] == [("rest", "3"), ("thing", "3")]
    share = np.mean([np.asarray(Image.open(mask)) >= 128 for mask in (tmp_path / "masks/train").iterdir()])
    assert rows[1][2] == f"{100 * share:.2f} %"


def test_settings_that_exclude_a_threshold(tmp_path: Path) -> None:
    smooth_masks(tmp_path)
    with pytest.raises(TwinsError, match="--mask-threshold makes two classes .* does not go with --reduce-zero-label"):
        check(tmp_path, mask_threshold=128, reduce_zero_label=True)
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    with pytest.raises(TwinsError, match=r"does not go with .*classes\.txt with 3 classes"):
        check(tmp_path, mask_threshold=128)
    with pytest.raises(TwinsError, match="--nearest-colour needs colours"):
        check(tmp_path, nearest_colour=True)


def test_the_share_that_the_nearest_colour_decided_is_told(tmp_path: Path) -> None:
    smooth_masks(tmp_path)
    (tmp_path / "classes.txt").write_text("rest,0,0,0\nthing,255,255,255\n")
    recipe = SegmentRecipe(data=str(tmp_path), workers=0, img_size=32, nearest_colour=True)
    train, _ = read_mask_folders(recipe)
    assert train is not None
    statistics = mask_statistics({TRAINING: train}, recipe)
    assert statistics.errors == ()
    pixels = [np.asarray(Image.open(mask)) for mask in train.masks]
    share = np.mean([(mask > 0) & (mask < 255) for mask in pixels])
    assert statistics.warnings == (f"training: {100 * share:.2f} % of pixels have the class of the nearest colour",)


HINTS = {
    "0 is background of 150": (
        [0, 3, 150],
        150,
        "150 classes are 0 to 149: if masks count from 1 and 0 is no class, pass --reduce-zero-label; else name all "
        "classes (--classes)",
    ),
    "254": (
        [0, 3, 254],
        10,
        "if 254 is no class: --ignore-index 254; if it is a class: classes are numbered from 0 to 9",
    ),
    "-1": ([-1, 0, 3], 10, "if -1 is no class: --ignore-index -1; if it is a class: classes are numbered from 0 to 9"),
    "second of two": (
        [0, 128],
        2,
        "if 128 is the second class: pass --mask-threshold 64; if 128 is no class: --ignore-index 128",
    ),
    "greys": (
        [0, 38, 75, 113],
        4,
        "these look like grey levels: write into classes.txt a line for each: `name0,0,0,0` `name1,38,38,38` "
        "`name2,75,75,75` `name3,113,113,113`",
    ),
    "soft edges": (
        [0, 3, 9, 20, 50, 90, 120, 160, 200, 230, 250],
        2,
        "so many values are grey levels with anti-aliased edges: pass --mask-threshold 128 for two classes, or save "
        "masks as PNG of class numbers without smoothing",
    ),
    "nothing known": ([0, 5], 3, None),
}


@pytest.mark.parametrize("case", HINTS)
def test_hints(case: str) -> None:
    values, classes, hint = HINTS[case]
    assert advice_on_values(values, classes) == hint


def test_one_class_alone_because_of_a_setting(tmp_path: Path) -> None:
    smooth_masks(tmp_path)
    for mask in tmp_path.rglob("masks/*/*.png"):
        Image.fromarray((np.asarray(Image.open(mask)) > 127).astype(np.uint8)).save(mask)
    assert check(tmp_path)[0] == ()
    (error,), _ = check(tmp_path, ignore_index=0)
    assert "'1' alone is left to learn; --ignore-index 0 leaves pixels out: pass one that is no class" in error
    (error,), _ = check(tmp_path, reduce_zero_label=True)
    assert "fewer than two classes" in error
    assert "--reduce-zero-label leaves 0 and 255 out: masks whose classes count from 0 go without it" in error
    (error,), _ = check(tmp_path, mask_threshold=128)
    assert "alone is left to learn; no grey level on the other side of --mask-threshold 128" in error

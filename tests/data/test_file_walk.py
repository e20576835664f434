"""Which files below a folder are images, and what is said of the others."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from twins.data.boxes.layouts import open_boxed
from twins.data.file_walk import left_out_beside, left_out_of, walk_files
from twins.data.folders import images_under
from twins.data.image_suffixes import IMAGE_SUFFIXES
from twins.data.masks.layouts import open_masked
from twins.recipes import DetectRecipe, SegmentRecipe


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def names_of(paths: list[Path], root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in paths]


@pytest.mark.parametrize(
    "clutter",
    ["._a.png", ".ipynb_checkpoints/a-checkpoint.png", "__MACOSX/a/._a.png", "@eaDir/a.png", "sub/__MACOSX/b.png",
     "#recycle/a.png", "$RECYCLE.BIN/a.png", ".Trash-1000/files/a.png", ".DS_Store", "Thumbs.db", "desktop.ini"],
)  # fmt: skip
def test_clutter_is_left_out_without_a_word(tmp_path: Path, clutter: str) -> None:
    touch(tmp_path, "a.png", "sub/b.JPG", clutter)
    assert names_of(images_under(tmp_path), tmp_path) == ["a.png", "sub/b.JPG"]
    assert left_out_of([walk_files(tmp_path)], tmp_path) == ()


def test_a_folder_in_a_hidden_one_may_be_named_itself(tmp_path: Path) -> None:
    touch(tmp_path, ".data/a.png")
    assert names_of(images_under(tmp_path / ".data"), tmp_path) == [".data/a.png"]


def test_suffixes_in_use(tmp_path: Path) -> None:
    assert {".jpg", ".jfif", ".jpe", ".png", ".avif", ".jp2", ".webp", ".mpo"} <= set(IMAGE_SUFFIXES)
    touch(tmp_path, "a.JFIF", "b.jpe", "c.avif", "d.Jp2")
    assert names_of(images_under(tmp_path), tmp_path) == ["a.JFIF", "b.jpe", "c.avif", "d.Jp2"]


def test_what_is_left_out_is_counted_by_suffix(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "a.txt", "a.xml", "README.md", "b.heic", "c.HEIC", "d.psd", "e", ".hidden.png")
    (line,) = left_out_of([walk_files(tmp_path)], tmp_path)
    assert line == (
        f"left out of {tmp_path}, not read as images: 2 .heic (pip install pillow-heif, which reads them), 1 .psd, "
        "1 hidden images, 1 without a suffix"
    )


def test_what_is_left_out_beside_images(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "a/1.txt", "a/2.heic", "b/3.png", "b/4.svg", "b/deeper/5.svg", "c/6.svg", "b/.7.svg")
    images = [tmp_path / "a/1.png", tmp_path / "b/3.png", tmp_path / "gone/8.png"]
    (line,) = left_out_beside(images)
    assert line.startswith(f"left out of {tmp_path}, not read as images: 1 .heic (pip")
    assert line.endswith("), 1 .svg")
    assert left_out_beside([]) == ()


@pytest.mark.parametrize("task", ["segment", "detect"])
def test_masks_and_yolo_name_what_is_left_out(tmp_path: Path, task: str) -> None:
    recipe: SegmentRecipe | DetectRecipe
    for kind in ("images", "masks", "labels"):
        (tmp_path / kind).mkdir()
    for i in range(4):
        Image.fromarray(np.eye(8, dtype=np.uint8)).save(tmp_path / "images" / f"{i}.png")
        Image.fromarray(np.eye(8, dtype=np.uint8)).save(tmp_path / "masks" / f"{i}.png")
        (tmp_path / "labels" / f"{i}.txt").write_text("0 0.5 0.5 0.5 0.5")
    (tmp_path / "classes.txt").write_text("a\nb\n")
    (tmp_path / "images" / "5.heic").touch()
    recipe = (SegmentRecipe if task == "segment" else DetectRecipe)(data=str(tmp_path))
    train, val = open_masked(recipe) if isinstance(recipe, SegmentRecipe) else open_boxed(recipe)
    split, line = val.warnings
    assert "no validation images named; 1 of 4 images are set aside" in split
    assert line.startswith(f"left out of {tmp_path}/images, not read as images: 1 .heic")
    assert train.warnings == ()


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    touch(tmp_path, "data/a/1.png", "data/b/2.png", "elsewhere/3.png")
    links = {"data/a/self": "data/a", "data/a/up": "data", "data/a/further_up": ".", "data/a/there": "elsewhere",
             "elsewhere/back": "data/a", "elsewhere/itself": "elsewhere"}  # fmt: skip
    for link, target in links.items():
        (tmp_path / link).symlink_to(tmp_path / target, target_is_directory=True)
    (tmp_path / "data/a/circle.png").symlink_to(tmp_path / "data/a/circle.png")
    (tmp_path / "data/a/gone.png").symlink_to(tmp_path / "nowhere.png")  # who reads it will say so
    below = walk_files(tmp_path / "data" / "a")
    assert names_of(below.images, tmp_path / "data" / "a") == ["1.png", "circle.png", "gone.png", "there/3.png"]
    (line,) = left_out_of([below], tmp_path)
    assert line.endswith("5 links to a folder that they are in")


def test_a_folder_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert images_under(tmp_path / "gone") == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes")
def test_pipes_are_no_images(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    os.mkfifo(tmp_path / "b.png")
    below = walk_files(tmp_path)
    assert names_of(below.images, tmp_path) == ["a.png"]
    assert left_out_of([below], tmp_path)[0].endswith("1 neither files nor folders (pipes, devices)")

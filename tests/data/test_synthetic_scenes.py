"""The embedded scenes of digits: always the same ones, written whole, and as their annotations say."""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from twins.data.boxes.checks import check_boxes
from twins.data.boxes.layouts import open_boxed
from twins.data.check_results import TRAINING, VALIDATION
from twins.data.digits import read_digits
from twins.data.synthetic_scenes import (
    CLASSES,
    PARTS,
    _run_lengths,
    draw_scene,
    write_boxed_scenes,
    write_masked_scenes,
)
from twins.errors import TwinsError
from twins.recipes import DetectRecipe, SegmentRecipe, find_recipe
from twins.tasks.segment import Segmentation


def few(monkeypatch: pytest.MonkeyPatch, training: int, validation: int) -> None:
    monkeypatch.setitem(PARTS, "training", training)
    monkeypatch.setitem(PARTS, "validation", validation)


def test_scenes_follow_from_their_number_alone(tmp_path: Path) -> None:
    scans, val = read_digits()
    one, two, other = (draw_scene(scans, "training", n) for n in (3, 3, 4))
    assert np.array_equal(one.image, two.image)
    assert not np.array_equal(one.image, other.image)
    counts = [len(draw_scene(val, "validation", n).digits) for n in range(40)]
    assert min(counts) >= 1
    assert np.mean(counts) > 2
    for number in range(20):
        inks = [digit.ink for digit in draw_scene(scans, "training", number).digits]
        assert np.sum(inks, axis=0).max() <= 1  # no two overlap


def test_scenes_are_read_back_by_the_ordinary_loader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few(monkeypatch, 3, 2)
    root = write_masked_scenes(tmp_path / "scenes")
    task = Segmentation(SegmentRecipe(data=str(root), img_size=96, workers=0))
    train, val = task.datasets()
    assert train is not None
    assert (len(train), len(val), task.classes) == (3, 2, CLASSES)
    scans = dict(zip(PARTS, read_digits(), strict=True))
    for part, data in (("training", train), ("validation", val)):
        for number in range(len(data)):
            image, mask = data.images.read(number, 3)
            scene = draw_scene(scans[part], part, number)
            assert np.array_equal(np.asarray(image), scene.image)
            for digit in scene.digits:
                assert (mask.numpy()[digit.ink] == digit.label + 1).all()
            assert int((mask > 0).sum()) == sum(digit.ink.sum() for digit in scene.digits)


def test_an_empty_scene_shows_the_background_of_the_full_one() -> None:
    scans, _ = read_digits()
    full, empty = (draw_scene(scans, "training", 3, empty=empty) for empty in (False, True))
    assert len(full.digits) > len(empty.digits) == 0
    background = (full.image == empty.image).all(-1)
    assert background.mean() > 0.3
    assert not background[np.any([digit.ink for digit in full.digits], axis=0)].any()


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools and NumPy 2
@pytest.mark.parametrize(
    ("counts", "empty", "digest"),
    [
        ((60, 40), (3, 2), "76f127c6a35cccb4ab16eee567419ed69b3f200062c14d4670d6171e879341b7"),
        pytest.param(
            (1000, 120),
            (50, 6),
            "f01f4e7437d776bb5f3052bd93c160f55e1a6bb913c6bffc5bc46f64580f49a6",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_boxed_scenes_are_what_cocos_files_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counts: tuple[int, int], empty: tuple[int, int], digest: str
) -> None:
    few(monkeypatch, *counts)
    root = write_boxed_scenes(tmp_path / "scenes")
    scans = dict(zip(PARTS, read_digits(), strict=True))
    seen = hashlib.sha256()
    for folder, part, count, without_objects in zip(("train", "val"), PARTS, counts, empty, strict=True):
        text = (root / "annotations" / f"instances_{folder}.json").read_bytes()
        seen.update(text)
        content = json.loads(text)
        assert content["categories"] == [{"id": 1 + digit, "name": str(digit)} for digit in range(10)]
        assert [image["file_name"] for image in content["images"]] == sorted(p.name for p in (root / folder).iterdir())
        assert len(content["images"]) == len({image["id"] for image in content["images"]}) == count
        assert [a["id"] for a in content["annotations"]] == list(range(1, len(content["annotations"]) + 1))
        assert count - len({a["image_id"] for a in content["annotations"]}) == without_objects
        for image in content["images"][:40]:
            scene = draw_scene(scans[part], part, int(image["file_name"][:4]))
            opened = np.asarray(Image.open(root / folder / image["file_name"]))
            assert (image["height"], image["width"]) == opened.shape[:2]
            objects = [a for a in content["annotations"] if a["image_id"] == image["id"]]
            assert np.array_equal(opened, scene.image) == bool(objects)
            for found, digit in zip(objects, scene.digits if objects else (), strict=True):
                code = coco_mask.frPyObjects(found["segmentation"], image["height"], image["width"])
                assert np.array_equal(coco_mask.decode(code), digit.ink)
                assert found["bbox"] == coco_mask.toBbox(code).tolist()
                assert found["area"] == coco_mask.area(code)
                assert (found["category_id"], found["iscrowd"]) == (1 + digit.label, 0)
    assert seen.hexdigest() == digest


def test_boxed_scenes_are_fit_for_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few(monkeypatch, 60, 40)
    recipe = find_recipe("digits", "detect").replace(output=str(tmp_path))
    assert isinstance(recipe, DetectRecipe)
    train, val = open_boxed(recipe)
    assert train is not None
    assert train.classes == val.classes == tuple("0123456789")
    assert (len(train), len(val), train.has_masks, val.has_masks) == (60, 40, True, True)
    checked = check_boxes({TRAINING: train, VALIDATION: val}, recipe)
    assert [part.errors for part in checked.values()] == [(), ()]
    assert [[w.split(":")[0] for w in part.warnings] for part in checked.values()] == [["images without objects"]] * 2
    image, target = val.read(0, 3)
    for box, mask in zip(target["boxes"].int().tolist(), target["masks"], strict=True):
        rows, columns = (mask.any(dim=axis).nonzero() for axis in (1, 0))
        assert box == [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]
    assert image.size == (96, 96)


def test_run_lengths_go_down_the_columns_and_begin_with_no_ink() -> None:
    ink = np.array([[0, 1, 1], [0, 1, 0], [1, 0, 0]], dtype=bool)
    assert _run_lengths(ink) == [2, 3, 1, 1, 2]
    assert _run_lengths(~ink) == [0, 2, 3, 1, 1, 2]


@pytest.mark.parametrize("write", [write_masked_scenes, write_boxed_scenes])
def test_scenes_are_written_once_and_whole(
    write: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few(monkeypatch, 3, 2)
    root = write(tmp_path / "scenes")
    assert len(list(root.rglob("*.png"))) in (5, 10)
    (root / "0.png").touch()
    with monkeypatch.context() as patch:
        patch.setattr("twins.data.synthetic_scenes.read_digits", None)  # nothing is made again
        assert write(root) == root
    assert (root / "0.png").is_file()

    def full_disk(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(TwinsError) as error:
        write(tmp_path / "more")
    assert str(error.value) == (
        f"{tmp_path / 'more'}: cannot be written (No space left on device); the embedded scenes need room there; "
        "choose another place, or make room"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["scenes"]

"""Pascal VOC's lists of the images of each part."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.image_files import write_image
from twins.data.boxes.layouts import open_boxed
from twins.data.masks.dataset import MaskedImages
from twins.data.masks.layouts import open_masked, read_mask_folders
from twins.errors import TwinsError
from twins.recipes import DetectRecipe, SegmentRecipe


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """Ten images, p0 to p9, with masks."""
    for i in range(10):
        write_image(tmp_path / "JPEGImages" / f"p{i}.jpg")
        write_image(tmp_path / "SegmentationClass" / f"p{i}.png")
    return tmp_path


def write_lists(root: Path, kind: str, **lists: str) -> None:
    folder = root / "ImageSets" / kind
    folder.mkdir(parents=True, exist_ok=True)
    for name, digits in lists.items():
        (folder / f"{name}.txt").write_text("".join(f"p{i}\n" for i in digits))


def stems(images: MaskedImages | None) -> str | None:
    return None if images is None else "".join(image.stem[1] for image in images.images)


def parts(root: Path, part: str = "val") -> tuple[str | None, str | None]:
    train, measured = read_mask_folders(SegmentRecipe(data=str(root)), part)
    return stems(train), stems(measured)


@pytest.mark.parametrize(("lists", "train", "val"), [
    ({"train": "01234", "val": "56789"}, "01234", "56789"),
    ({"Train": "104", "Validation": "23"}, "014", "23"),
    ({"train": "012", "val": "34", "trainval": "01234", "test": "56789"}, "012", "34"),
    ({"trainval": "01234", "val": "34"}, "012", "34"),
    ({"trainval": "0123", "test": "56789"}, "0123", None),
    ({"default": "0123456789"}, "0123456789", None),
    ({"train": "012", "cat_train": "1", "cat_val": "2"}, "012", None),
    ({"val": "34"}, None, "34"),
])  # fmt: skip
def test_lists_tell_the_parts(voc: Path, lists: dict[str, str], train: str | None, val: str | None) -> None:
    write_lists(voc, "Segmentation", **lists)
    assert parts(voc) == (train, val)


def test_those_of_the_task_come_first(voc: Path) -> None:
    write_lists(voc, ".", train="9", val="8")
    assert parts(voc) == ("9", "8")
    write_lists(voc, "Main", train="012", val="3")
    assert parts(voc) == ("012", "3")
    write_lists(voc, "Segmentation", train="45", val="6")
    assert parts(voc) == ("45", "6")


def test_what_lists_leave_out_is_told(voc: Path) -> None:
    write_lists(voc, "Segmentation", train="012", val="345")
    lists = voc / "ImageSets" / "Segmentation"
    (lists / "val.txt").write_text("p3\nJPEGImages/p4.jpg\n\nq1\nq2.jpg\n")
    train, val = open_masked(SegmentRecipe(data=str(voc)))
    assert (stems(train), stems(val)) == ("012", "34")
    assert train is not None
    assert train.warnings == (
        f"{lists / 'val.txt'}: not there with an annotation: q1, q2",
        f"{lists}: 5 images are in none of its lists, left out",
    )
    assert (train.part, val.part, val.warnings) == ("train", "val", ())


def test_the_test_list_waits_until_it_is_asked_for(voc: Path) -> None:
    write_lists(voc, "Segmentation", train="0123", test="45")
    train, _ = read_mask_folders(SegmentRecipe(data=str(voc)))
    assert train is not None
    lists = voc / "ImageSets" / "Segmentation"
    assert train.warnings[1] == f"{lists}: test images are left for eval --part test"
    assert parts(voc, "test") == ("0123", "45")
    (lists / "test.txt").unlink()
    with pytest.raises(TwinsError, match="Segmentation: no test images there; pass --part train for those"):
        parts(voc, "test")


def test_bad_lists_are_named(voc: Path) -> None:
    write_lists(voc, "Segmentation", train="")
    with pytest.raises(TwinsError, match=r"train\.txt: an empty list"):
        parts(voc)
    (voc / "ImageSets/Segmentation/train.txt").write_text("x\ny\n")
    with pytest.raises(TwinsError, match=r"train\.txt: none of its 2 images is there with its annotation, as x"):
        parts(voc)
    write_image(voc / "JPEGImages" / "more" / "p0.jpg")
    write_image(voc / "SegmentationClass" / "more" / "p0.png")
    write_lists(voc, "Segmentation", train="01")
    with pytest.raises(TwinsError, match=r"train\.txt: p0 could be several images; list each with its folder"):
        parts(voc)
    (voc / "ImageSets/Segmentation/train.txt").write_text("more/p0\np1\n")
    assert parts(voc) == ("01", None)
    (voc / "ImageSets/Segmentation/train.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TwinsError, match=r"train\.txt: cannot be read"):
        parts(voc)


def test_boxes_are_parted_by_lists_too(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    (tmp_path / "labels").mkdir()
    for i in range(4):
        write_image(tmp_path / "images" / f"p{i}.png")
        (tmp_path / "labels" / f"p{i}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    write_lists(tmp_path, "Main", train="03", val="1", test="2")
    recipe = DetectRecipe(data=str(tmp_path))
    train, val = open_boxed(recipe)
    assert train is not None
    assert [image.stem for image in train.images] == ["p0", "p3"]
    assert [image.stem for image in val.images] == ["p1"]
    _, test = open_boxed(recipe.replace(part="test"), evaluation_only=True)
    assert ([image.stem for image in test.images], test.part) == (["p2"], "test")

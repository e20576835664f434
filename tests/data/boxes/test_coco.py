"""COCO's layout: where files are, what ids mean, what is refused, and which objects come out of it."""

from __future__ import annotations

import json
import pickle
import re
import unicodedata
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as published

from helpers.image_files import write_image
from twins.data.boxes.coco import annotation_files, read_coco
from twins.data.boxes.dataset import BoxedImages
from twins.data.boxes.layouts import open_boxed
from twins.data.boxes.segmentations import rasterised
from twins.data.images import UnreadableImageError
from twins.errors import TwinsError
from twins.recipes import DetectRecipe

Row = dict[str, Any]

CATEGORIES = [{"id": 3, "name": "cat"}, {"id": 5, "name": "dog"}]
SQUARE = [2, 1, 6, 1, 6, 4, 2, 4]  # columns 2 to 5, rows 1 to 3


def image(id: Any = 7, file_name: str = "a.png", width: int = 8, height: int = 6, **more: Any) -> Row:
    return {"id": id, "file_name": file_name, "width": width, "height": height, **more}


def annotation(id: Any = 1, image_id: Any = 7, category_id: Any = 3, **more: Any) -> Row:
    return {"id": id, "image_id": image_id, "category_id": category_id, "bbox": [2, 1, 4, 3], **more}


def without(row: Row, *fields: str) -> Row:
    return {name: value for name, value in row.items() if name not in fields}


def write(file: Path, images: Any = None, annotations: Any = None, categories: Any = None) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "images": [image()] if images is None else images,
        "annotations": [annotation()] if annotations is None else annotations,
        "categories": CATEGORIES if categories is None else categories,
    }
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def training(root: Path, images: Any = None, annotations: Any = None, categories: Any = None) -> BoxedImages:
    """The training part of these annotations, whose images are written as they are listed."""
    write(root / "annotations/instances_train.json", images, annotations, categories)
    for row in [image()] if images is None else images:
        write_image(root / "train" / row["file_name"], int(row.get("width") or 8), int(row.get("height") or 6))
    train, _ = read_coco(root)
    assert train is not None
    return train


def refused(root: Path) -> str:
    with pytest.raises(TwinsError) as error:
        read_coco(root)
    assert "\n" not in str(error.value)
    return str(error.value)


# Layouts

LAYOUTS = {  # annotations and images of training, annotations and images of validation
    "COCO": "annotations/instances_train2017.json train2017 annotations/instances_val2017.json val2017",
    "COCO 2014": "annotations/instances_train2014.json train2014 annotations/instances_val2014.json val2014",
    "in images": "annotations/instances_train2017.json images/train2017 annotations/instances_val2017.json images/val",
    "no year": "annotations/instances_train.json train annotations/instances_val.json val",
    "year in files alone": "annotations/instances_train2017.json train annotations/instances_val2017.json valid",
    "one folder": "annotations/instances_train.json images annotations/instances_val.json images",
    "root": "annotations/instances_my_train.json . annotations/instances_my_val.json .",
    "plain names": "annotations/train.json train annotations/val.json val",
    "no folder of annotations": "instances_train.json train instances_val.json val",
    "Roboflow": "train/_annotations.coco.json train valid/_annotations.coco.json valid",
    "among the images": "train/annotations.json train valid/annotations.json valid",
    "FiftyOne": "labels.json data - -",
    "FiftyOne, a folder a part": "train/labels.json train/data val/labels.json val/data",
    "Label Studio": "result.json images - -",
    "CVAT": "annotations/instances_default.json images/default - -",
    "CVAT, flat": "annotations/instances_default.json images - -",
    "one file": "annotations.json images - -",
    "one file among the images": "_annotations.coco.json . - -",
    "training alone": "annotations/instances_train.json train - -",
    "validation alone": "- - annotations/instances_val.json val",
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["a.png", "deep/a.png"])
def test_layouts_are_recognised(tmp_path: Path, layout: str, name: str) -> None:
    parts = [LAYOUTS[layout].split()[:2], LAYOUTS[layout].split()[2:]]
    for number, (file, files) in enumerate(parts):
        if file != "-":
            write(tmp_path / file, [image(file_name=f"{number}{name}")])
            write_image(tmp_path / files / f"{number}{name}")
    for number, ((file, files), images) in enumerate(zip(parts, read_coco(tmp_path), strict=True)):
        if file == "-":
            assert images is None
            continue
        assert images is not None
        assert images.images == [tmp_path / files / f"{number}{name}"]
        opened, target = images.read(0, channels=3)
        assert (opened.mode, opened.size) == ("RGB", (8, 6))
        assert target["boxes"].tolist() == [[2, 1, 6, 4]]


def test_what_is_not_for_objects_or_not_for_training_is_left_alone(tmp_path: Path) -> None:
    for file in ("captions_train2017.json", "person_keypoints_train2017.json", "instances_test2017.json"):
        write(tmp_path / "annotations" / file, [], [], [])
    write(tmp_path / "test/_annotations.coco.json", [], [], [])
    assert len(training(tmp_path)) == 1
    assert read_coco(tmp_path)[1] is None


@pytest.mark.parametrize(
    "files",
    [
        ("annotations/instances_train2014.json", "annotations/instances_train2017.json"),
        ("annotations/instances_val2017.json", "valid/_annotations.coco.json"),
        ("annotations/captions_train2017.json", "annotations/person_keypoints_train2017.json"),
        ("annotations/instances_default.json", "annotations/instances_train.json"),
        ("_annotations.coco.json", "annotations.json"),
    ],
)
def test_files_that_clash_are_named(tmp_path: Path, files: tuple[str, str]) -> None:
    for file in files:
        write(tmp_path / file)
    assert f"which annotations to take is unclear: {', '.join(sorted(files))}; keep one, or pass it" in refused(
        tmp_path
    )


def test_a_file_may_be_named_itself(tmp_path: Path) -> None:
    for part in ("train", "val"):
        write(tmp_path / f"annotations/instances_{part}.json")
        write_image(tmp_path / part / "a.png")
    train, val = read_coco(tmp_path / "annotations/instances_train.json")
    assert train is not None
    assert (train.images, val) == ([tmp_path / "train/a.png"], None)
    train, val = read_coco(tmp_path / "annotations/instances_val.json")
    assert val is not None
    assert (train, val.images) == (None, [tmp_path / "val/a.png"])


def test_images_that_are_nowhere(tmp_path: Path) -> None:
    file = write(tmp_path / "annotations/instances_train.json")
    write_image(tmp_path / "train/other.png")
    message = refused(tmp_path)
    assert message == f"{file}: none of its images, as 'a.png', is in any of {tmp_path / 'train'}, {tmp_path}"
    assert "no annotations in COCO's layout" in refused(tmp_path / "gone")


# Ids and classes


def test_ids_of_any_kind(tmp_path: Path) -> None:
    """Gaps, from 0, huge, and in no order: classes come in the order of their ids, files as they are listed."""
    huge = 2**62
    images = training(
        tmp_path,
        [image(huge, "b.png"), image(0, "a.png"), image(9, "none.png")],
        [
            annotation(0, 0, 90, bbox=[0, 0, 2, 2]),
            annotation(huge + 1, huge, 0, bbox=[1, 1, 2, 2]),
            annotation(4, 0, 17, bbox=[2, 2, 2, 2]),
        ],
        [{"id": 90, "name": "z"}, {"id": 0, "name": "y"}, {"id": 17, "name": "x"}],
    )
    assert (images.classes, images.category_ids) == (("y", "x", "z"), (0, 17, 90))
    assert (images.image_ids, [opened.name for opened in images.images]) == (
        [huge, 0, 9],
        ["b.png", "a.png", "none.png"],
    )
    assert [objects.labels.tolist() for objects in images.objects] == [[0], [2, 1], []]
    assert [objects.boxes[:, 0].tolist() for objects in images.objects] == [[1], [0, 2], []]
    assert images.object_name(0, 0) == f"{images.name(0)}: annotation {huge + 1}"
    assert (images.errors, images.warnings) == ((), ())


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), max_size=30))
def test_objects_are_grouped_by_image_in_the_order_of_the_file(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[int, int]]
) -> None:
    root = tmp_path_factory.mktemp("grouped")
    rows = [annotation(i, 10 * number, category, bbox=[i, 0, 1, 1]) for i, (number, category) in enumerate(pairs)]
    categories = [{"id": i, "name": str(i)} for i in range(3)]
    images = training(root, [image(10 * i, f"{i}.png") for i in range(5)], rows, categories)
    for number, objects in enumerate(images.objects):
        expected = [row for row in rows if row["image_id"] == 10 * number]
        assert objects.labels.tolist() == [row["category_id"] for row in expected]
        assert objects.boxes.tolist() == [row["bbox"] for row in expected]
        assert images.object_ids[number].tolist() == [row["id"] for row in expected]


SPELLINGS = {  # of an image's id and its annotation's, and what results call it
    "a float": (12.0, 12, 12),
    "text": ("12", 12, 12),
    "both": ("12", 12.0, 12),
    "zeros in front": ("0012", "0012", 1),
    "uuid": ("9f0c-1e5", "9f0c-1e5", 1),
    "digits and a letter": ("1e5", "1e5", 1),
}


@pytest.mark.parametrize("case", SPELLINGS)
def test_ids_may_be_spelt_as_numbers_or_be_text(tmp_path: Path, case: str) -> None:
    listed, referred, number = SPELLINGS[case]
    rows = [annotation("4", referred, "3.0"), annotation("a-1", referred, 5.0)]
    images = training(tmp_path, [image(listed)], rows, [{"id": "3", "name": "cat"}, {"id": 5.0, "name": "dog"}])
    assert (images.image_ids, images.category_ids) == ([number], (3, 5))
    assert images.objects[0].labels.tolist() == [0, 1]
    assert images.object_ids[0].tolist() == [4, 1]
    text = " in text, for which results have numbers of their own: "
    file = tmp_path / "annotations/instances_train.json"
    of_images = [f"{file}: ids of images{text}{listed}"] if isinstance(listed, str) and listed != "12" else []
    assert list(images.warnings) == [*of_images, f"{file}: ids of annotations{text}a-1"]


def test_ids_in_text_get_numbers_that_are_free(tmp_path: Path) -> None:
    rows = [image(id, f"{name}.png") for name, id in enumerate(["b", 1, "a", 3])]
    images = training(tmp_path, rows, [annotation(i, id) for i, id in enumerate(["a", 3, "b"])])
    assert images.image_ids == [2, 1, 4, 3]
    assert [ids.tolist() for ids in images.object_ids] == [[2], [], [0], [1]]


def test_one_id_in_two_spellings_is_an_error(tmp_path: Path) -> None:
    images = training(tmp_path, [image(12), image("12", "b.png"), image("012", "c.png")], [annotation(1, 12)])
    assert [error.split(": ", 1)[1] for error in images.errors] == ["ids that several images share: 12"]
    assert images.image_ids == [12, 1]


def both_parts(
    root: Path, train: list[Row], val: list[Row], in_train: Sequence[Row] = (), in_val: Sequence[Row] = ()
) -> tuple[BoxedImages, BoxedImages]:
    """An image in each part, these categories, and these annotations."""
    for part, categories, rows in (("train", train, in_train), ("val", val, in_val)):
        write(root / f"annotations/instances_{part}.json", None, list(rows), categories)
        write_image(root / part / "a.png")
    images = read_coco(root)
    assert images[0] is not None
    assert images[1] is not None
    return images[0], images[1]


def test_parts_may_number_the_same_classes_differently(tmp_path: Path) -> None:
    other = [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}]
    train, val = both_parts(
        tmp_path, CATEGORIES, other, in_val=[annotation(1, category_id=1), annotation(2, category_id=2)]
    )
    assert train.classes == val.classes == ("cat", "dog")
    assert (train.category_ids, val.category_ids) == ((3, 5), (2, 1))
    assert val.objects[0].labels.tolist() == [1, 0]


def test_parts_with_other_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TwinsError, match=r"instances_val\.json: lacks category 'dog' of .*instances_train\.json; list"):
        both_parts(tmp_path, CATEGORIES, CATEGORIES[:1])
    with pytest.raises(TwinsError, match=r"instances_train\.json: lacks category 'dog' of .*instances_val\.json; list"):
        both_parts(tmp_path, CATEGORIES[:1], CATEGORIES)


ROBOFLOW = [
    {"id": 0, "name": "pets", "supercategory": "none"},
    {"id": 1, "name": "cat", "supercategory": "pets"},
    {"id": 2, "name": "dog", "supercategory": "pets"},
]


def test_a_category_that_stands_for_the_others_is_no_class(tmp_path: Path) -> None:
    train, val = both_parts(tmp_path, ROBOFLOW, ROBOFLOW, in_train=[annotation(category_id=1)])
    assert train.classes == val.classes == ("cat", "dog")
    assert (train.category_ids, train.objects[0].labels.tolist()) == ((1, 2), [0])
    # Where it has an object, be it in one part alone, it is a class.
    train, val = both_parts(tmp_path, ROBOFLOW, ROBOFLOW, in_val=[annotation(category_id=0)])
    assert train.classes == val.classes == ("pets", "cat", "dog")
    # Where no other belongs to it, it is a class without objects; COCO's `person` belongs to `person`.
    person = [
        {"id": 0, "name": "person", "supercategory": "person"},
        {"id": 1, "name": "cat", "supercategory": "animal"},
    ]
    assert both_parts(tmp_path, person, person)[0].classes == ("person", "cat")


SAME_NAME = [
    {"id": 0, "name": "cat", "supercategory": "none"},
    {"id": 1, "name": "cat", "supercategory": "cat"},
    {"id": 2, "name": "dog", "supercategory": "cat"},
]


def test_the_root_category_may_have_the_name_of_a_class(tmp_path: Path) -> None:
    train, val = both_parts(tmp_path, SAME_NAME, SAME_NAME, in_val=[annotation(category_id=2)])
    assert train.classes == val.classes == ("cat", "dog")
    assert (val.category_ids, val.objects[0].labels.tolist()) == ((1, 2), [1])
    for images, part in ((train, "train"), (val, "val")):
        assert images.warnings == (
            f"{tmp_path}/annotations/instances_{part}.json: category 'cat' (id 0) stands for all others and has no "
            "objects: no class, left out",
        )
    with pytest.raises(TwinsError, match="several categories are called 'cat'"):
        both_parts(tmp_path, SAME_NAME, SAME_NAME, in_val=[annotation(category_id=0)])
    assert both_parts(tmp_path, SAME_NAME, SAME_NAME[1:])[0].classes == ("cat", "dog")


def family(parent: Row, *of_children: str) -> list[Row]:
    children = [{"id": i, "name": f"child {i}", "supercategory": name} for i, name in enumerate(of_children, 1)]
    return [{"id": 0, **parent}, *children]


CLASSES_THAT_LOOK_LIKE_ROOTS = {
    "a parent of its own": family({"name": "animal", "supercategory": "animal"}, "animal", "animal"),
    "a parent of no family": family({"name": "animal"}, "animal"),
    "numbered from 1": [{**row, "id": row["id"] + 1} for row in ROBOFLOW],
    "not the parent of all": family({"name": "animal", "supercategory": "none"}, "animal", "thing"),
    "None": family({"name": "None", "supercategory": "none"}, "None", "None"),
    "none": family({"name": "none", "supercategory": "none"}, "none", "none"),
    "alone": family({"name": "animal", "supercategory": "none"}),
}


@pytest.mark.parametrize("case", CLASSES_THAT_LOOK_LIKE_ROOTS)
def test_classes_without_objects_stay(tmp_path: Path, case: str) -> None:
    categories = CLASSES_THAT_LOOK_LIKE_ROOTS[case]
    images = training(tmp_path, None, [], categories)
    assert images.classes == tuple(row["name"] for row in categories)
    assert images.warnings == ()


# What is refused


def one(**more: Any) -> dict[str, list[Row]]:
    return {"annotations": [annotation(**more)]}


def coded(**code: Any) -> dict[str, list[Row]]:
    return one(segmentation={"size": [6, 8], "counts": [0, 48], **code})


NAN = float("nan")
CAPTION = {"id": 1, "image_id": 7, "caption": "a cat"}
MALFORMED: dict[str, tuple[str, dict[str, Any]]] = {
    "caption": ("annotations[0] (id 1): neither bbox nor segmentation; expected objects", {"annotations": [CAPTION]}),
    "three numbers": ("annotations[0] (id 1): bbox is [1, 2, 3]; expected four numbers", one(bbox=[1, 2, 3])),
    "text": ("bbox is ['one', 2, 3, 4]; expected four", one(bbox=["one", 2, 3, 4])),
    "nan": ("bbox is [nan, 1, 2, 3]; expected four", one(bbox=[NAN, 1, 2, 3])),
    "null": ("bbox is [None, 1, 2, 3]; expected four", one(bbox=[None, 1, 2, 3])),
    "area": ("(id 1): area is 'large'; expected a number", one(area="large")),
    "iscrowd": ("(id 1): iscrowd is 2; expected 0 or 1", one(iscrowd=2)),
    "no id": ("annotations[0]: no id", {"annotations": [without(annotation(), "id")]}),
    "no category": ("annotations[1] (id 2): no category_id",
                    {"annotations": [annotation(), without(annotation(2), "category_id")]}),
    "half an id": ("images[0] (id 0.5): id is 0.5; expected a whole number, or text", {"images": [image(0.5)]}),
    "empty id": ("images[0] (id ): id is ''; expected a whole number, or text", {"images": [image("")]}),
    "id beyond 64 bits": ("image_id is 9223372036854775808; expected a whole number", one(image_id=2**63)),
    "no file name": ("images[0] (id 7): no file_name", {"images": [without(image(), "file_name")]}),
    "half a size": ("images[0] (id 7): no height", {"images": [without(image(), "height")]}),
    "no object": ("images[1]: is 'b.png'; expected an object with fields", {"images": [image(), "b.png"]}),
    "no name": ("categories[0] (id 3): name is 5; expected text", {"categories": [{"id": 3, "name": 5}]}),
    "name twice": ("several categories are called 'cat'", {"categories": [CATEGORIES[0], {"id": 9, "name": "cat"}]}),
    "id twice": ("several categories are called 3", {"categories": [CATEGORIES[0], {"id": 3, "name": "x"}]}),
    "no categories": ("the list 'categories' is empty", {"categories": []}),
    "no images": ("the list 'images' is empty", {"images": []}),
    "no list": ("no list 'annotations' there; expected COCO's annotations of objects", {"annotations": {}}),
    "polygon not nested": ("segmentation holds 2; expected polygons", one(segmentation=SQUARE)),
    "odd polygon": ("segmentation holds [2, 1, 6, 1, 6]; expected", one(segmentation=[SQUARE[:5]])),
    "polygon of text": ("segmentation holds ['a', 'b']; expected", one(segmentation=[["a", "b"]])),
    "polygon with nan": ("segmentation holds [nan, 1]; expected", one(segmentation=[[NAN, 1]])),
    "segmentation of text": ("segmentation holds 'x'; expected", one(segmentation="x")),
    "code without size": ("run-length code of size None; expected [height, width]", coded(size=None)),
    "code without counts": ("run-length code with counts None; expected a list or text", coded(counts=None)),
    "negative counts": ("run-length code with counts [-1, 49] that mean nothing", coded(counts=[-1, 49])),
    "broken counts": ("run-length code with counts 'abc' that mean nothing", coded(counts="abc")),
    "code of another size": ("annotation 1: segmentation of 6 x 8 pixels in an image of 8 x 6", coded(size=[8, 6])),
}  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_entries_are_named(tmp_path: Path, case: str) -> None:
    gist, content = MALFORMED[case]
    file = write(tmp_path / "annotations/instances_train.json", **content)
    write_image(tmp_path / "train/a.png")
    message = refused(tmp_path)
    assert gist in message
    assert message.startswith(f"{file}: ")


@pytest.mark.parametrize(
    ("text", "gist"),
    [
        (b'{"images": [', "not readable as JSON"),
        (b"\xff\xfe\xff", "not readable as JSON"),
        (b"[]", "no list 'images' there; expected COCO's annotations of objects"),
        (b'{"info": {}, "annotations": [{"caption": "a cat"}]}', "no list 'images' there"),
    ],
)
def test_files_of_other_kinds_are_refused(tmp_path: Path, text: bytes, gist: str) -> None:
    file = tmp_path / "annotations/captions_train2017.json"
    file.parent.mkdir()
    file.write_bytes(text)
    assert refused(tmp_path).startswith(f"{file}: {gist}")


def test_what_belongs_to_nothing_is_counted(tmp_path: Path) -> None:
    rows = [
        annotation(1),
        *(annotation(10 + i, category_id=99) for i in range(5)),
        annotation(2, image_id=8),
        annotation(1),
    ]
    images = training(tmp_path, [image(), image(file_name="b.png")], rows)
    file = tmp_path / "annotations/instances_train.json"
    assert images.errors == (
        f"{file}: annotations of categories that are not listed: 10 (category 99); 11 (category 99); 12 (category 99) "
        "and 2 more",
        f"{file}: ids that several images share: 7",
    )
    assert images.warnings == (
        f"{file}: annotations of images that are not listed, left out: 2 (image 8)",
        f"{file}: ids that several annotations share: 1",
    )
    assert [opened.name for opened in images.images] == ["a.png"]  # the first of the two that share an id
    assert images.object_ids[0].tolist() == [1, 1]


# What is not annotated follows from the rest


def only(images: BoxedImages) -> tuple[list[float], float, bool]:
    objects = images.objects[0]
    assert len(objects) == 1
    return objects.boxes[0].tolist(), float(objects.areas[0]), bool(objects.crowd[0])


def test_area_crowd_and_box_may_be_missing(tmp_path: Path) -> None:
    triangle = [[0, 0, 6, 0, 0, 6]]
    pixels = int(published.area(published.frPyObjects(triangle, 6, 8))[0])
    assert only(training(tmp_path, None, [annotation()])) == ([2, 1, 4, 3], 12, False)
    assert only(training(tmp_path, None, [annotation(area=5.5, iscrowd=1)])) == ([2, 1, 4, 3], 5.5, True)
    assert only(training(tmp_path, None, [annotation(area=None, segmentation=triangle)])) == (
        [2, 1, 4, 3],
        pixels,
        False,
    )
    without_box = without(annotation(segmentation=[SQUARE]), "bbox")
    assert only(training(tmp_path, None, [without_box])) == ([2, 1, 4, 3], 12, False)
    coded = annotation(bbox=None, segmentation={"size": [6, 8], "counts": [6, 6, 36]})
    assert only(training(tmp_path, None, [coded])) == ([1, 0, 1, 6], 6, False)
    assert only(training(tmp_path, None, [annotation(bbox=[4, 4, -2, -2])])) == ([4, 4, -2, -2], 0, False)


def test_numbers_may_be_text(tmp_path: Path) -> None:
    rows = [
        annotation(1, bbox=["2", "1.0", 4, "3"], area="12", iscrowd=False, segmentation=None),
        annotation(2, area=NAN, iscrowd="1", segmentation=[["2", "1", 6, 1, "6", 4, 2, 4.0]]),
        annotation(3, bbox=[], iscrowd=None, segmentation=[SQUARE]),
    ]
    images = training(tmp_path, [{**image(), "width": "8", "height": 6.0}], rows)
    objects = images.objects[0]
    assert (images.sizes, objects.boxes.tolist()) == ([(6, 8)], [[2, 1, 4, 3]] * 3)
    assert (objects.areas.tolist(), objects.crowd.tolist()) == ([12, 12, 12], [False, True, False])
    assert [objects.segmentations[i][0].tolist() for i in (1, 2)] == [SQUARE] * 2  # type: ignore[index]


@pytest.mark.parametrize("no_size", [{}, {"width": None, "height": None}, {"width": 0, "height": 0}])
def test_a_size_that_is_not_written_is_the_images_own(tmp_path: Path, no_size: Row) -> None:
    assert training(tmp_path, [{**without(image(), "width", "height"), **no_size}]).sizes == [(6, 8)]


# Where images are


@pytest.mark.parametrize("name", ["images\\a.png", "C:\\set\\a.png", "/home/they/set/a.png", "elsewhere/a.png"])
def test_images_are_found_by_names_from_other_machines(tmp_path: Path, name: str) -> None:
    file = write(tmp_path / "result.json", [image(file_name=name)])
    write_image(tmp_path / "images/a.png")
    train, _ = read_coco(tmp_path)
    assert train is not None
    assert train.images == [tmp_path / "images/a.png"]
    told = f"{file}: no {name!r} here: files are found by the end of their names, as '{tmp_path}/images/a.png'"
    assert train.warnings == (() if name.startswith("images") else (told,))


def test_no_more_of_the_names_is_left_out_than_need_be(tmp_path: Path) -> None:
    """What is the same in two folders is told apart by them."""
    write(tmp_path / "result.json", [image(file_name="/their/set/x/a.png"), image(9, "/their/set/y/a.png")])
    for folder in "xy":
        write_image(tmp_path / "images" / folder / "a.png")
    train, _ = read_coco(tmp_path)
    assert train is not None
    assert train.images == [tmp_path / "images/x/a.png", tmp_path / "images/y/a.png"]


def test_names_must_tell_images_apart(tmp_path: Path) -> None:
    write(tmp_path / "result.json", [image(file_name="x/a.png"), image(9, "y/a.png")])
    write_image(tmp_path / "images/a.png")
    assert "none of its images, as 'x/a.png', is in any of" in refused(tmp_path)


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_letters_with_marks_may_be_composed_or_not(tmp_path: Path, forms: tuple[str, str]) -> None:
    written, there = (unicodedata.normalize(form, "größe/é.png") for form in forms)
    write(tmp_path / "annotations.json", [image(file_name=written)])
    write_image(tmp_path / "images" / there)
    assert read_coco(tmp_path)[0].images == [tmp_path / "images" / there]  # type: ignore[union-attr]


def test_a_file_of_another_name_is_pointed_out(tmp_path: Path) -> None:
    file = write(tmp_path / "labels_birds_2024.json")
    write_image(tmp_path / "images/a.png")
    hint = f"(found labels_birds_2024.json: pass --data {file})"
    assert hint in refused(tmp_path)
    with pytest.raises(TwinsError, match=re.escape(hint)):
        open_boxed(DetectRecipe(data=str(tmp_path)))
    assert len(open_boxed(DetectRecipe(data=str(file), val_split=0.0), evaluation_only=True)[1]) == 1


def test_files_of_other_tools_are_not_taken_for_annotations(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text('{"classes": ["a"], "labels": {"0": 0}}')
    (tmp_path / "result.json").write_text("[]")
    assert annotation_files(tmp_path) == (None, None)


# Files that ask for too much


def test_nesting_without_end_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "annotations.json"
    file.write_text("[" * 100_000 + "]" * 100_000)
    assert refused(tmp_path) == f"{file}: not readable as JSON (lists in lists in lists ... without end)"


@pytest.mark.parametrize(("sides", "gist"), [
    ({"width": -5}, "width is -5; expected a whole number of pixels from 1 to 1048576"),
    ({"height": 2**62}, "height is 4611686018427387904; expected a whole number of pixels"),
    ({"width": 0}, "width is 0; expected a whole number of pixels"),
    ({"width": 8.5}, "width is 8.5; expected a whole number of pixels"),
    ({"width": 2**20, "height": 2**20}, "width x height is 1048576 x 1048576; expected no more than 2147483648"),
])  # fmt: skip
def test_sizes_that_no_image_has_are_refused(tmp_path: Path, sides: Row, gist: str) -> None:
    write(tmp_path / "annotations.json", [image(**sides)])
    write_image(tmp_path / "a.png")
    assert f"images[0] (id 7): {gist}" in refused(tmp_path)


def test_a_name_that_is_too_long_is_of_a_missing_image(tmp_path: Path) -> None:
    write(tmp_path / "annotations.json", [image(), image(8, "é" * 10_000)])
    write_image(tmp_path / "a.png")
    train, _ = read_coco(tmp_path)
    assert train is not None
    with pytest.raises(UnreadableImageError):
        train.read(1, 3)


@pytest.mark.parametrize("far", [20.0, 1e5, 1e9])
def test_points_far_outside_cost_nothing(tmp_path: Path, far: float) -> None:
    """What is inside the image is the same as of a polygon that ends there."""
    square = [[2, 1, far, 1, far, far, 2, far]]
    images = training(tmp_path, None, [annotation(bbox=[2, 1, 6, 5], segmentation=square), annotation(2, bbox=[0] * 4,
                      segmentation=[[far, far, far, 2 * far, 2 * far, far]])])  # fmt: skip
    expected = np.zeros((6, 8), dtype=np.uint8)
    expected[1:, 2:] = 1
    assert images.read(0, 3)[1]["masks"][0].equal(torch.from_numpy(expected))
    assert images.objects[0].areas.tolist() == [30, 0]


@pytest.mark.parametrize(("polygon", "gist"), [
    ([0, 0, 1e300, 0, 1e300, 1], "a polygon with a point 1e+300 pixels away"),
    ([0, 0, 1000, 900] * 4000, "a polygon of 8000 points whose edges are 1.08e+07 pixels long"),
])  # fmt: skip
def test_polygons_that_take_gigabytes_are_refused(tmp_path: Path, polygon: list[float], gist: str) -> None:
    write(tmp_path / "annotations.json", [image(width=1000, height=900)], [annotation(3, segmentation=[polygon])])
    write_image(tmp_path / "a.png", 1000, 900)
    assert f"annotation 3: segmentation holds {gist}; fix or remove it" in refused(tmp_path)


def test_size_of_an_image_may_be_missing(tmp_path: Path) -> None:
    unsized = without(image(), "width", "height")
    images = training(tmp_path, [unsized], [without(annotation(segmentation=[SQUARE]), "bbox")])
    assert (images.sizes, only(images)) == ([(6, 8)], ([2, 1, 4, 3], 12, False))
    write_image(tmp_path / "train/a.png", 8, 6, turned=True)
    assert read_coco(tmp_path)[0].sizes == [(8, 6)]  # type: ignore[union-attr]  # upright
    (tmp_path / "train/a.png").write_bytes(b"broken")
    assert read_coco(tmp_path)[0].sizes == [None]  # type: ignore[union-attr]


# Images and targets


def test_objects_that_cannot_be_learnt_are_left_out_of_the_target(tmp_path: Path) -> None:
    boxes = {
        1: [-3, -2, 6, 5], 2: [5, 3, 30, 30], 3: [2, 1, 0.9, 3], 4: [2, 1, 4, -3], 5: [7.5, 0, 4, 4], 6: [20, 20, 4, 4],
        7: [1, 1, 1, 1],
    }  # fmt: skip
    rows = [annotation(id, bbox=box, category_id=5 if id == 2 else 3) for id, box in boxes.items()]
    images = training(tmp_path, None, [*rows, annotation(8, iscrowd=1)])
    _, target = images.read(0, 3)
    assert target.keys() == {"boxes", "labels"}
    assert target["boxes"].tolist() == [[0, 0, 3, 3], [5, 3, 8, 6], [1, 1, 2, 2]]
    assert (target["labels"].tolist(), target["boxes"].dtype, target["labels"].dtype) == (
        [0, 1, 0],
        torch.float32,
        torch.int64,
    )
    assert len(images.objects[0]) == 8  # metrics count from all
    assert images.objects[0].crowd.tolist() == [False] * 7 + [True]


def test_an_image_without_objects_has_empty_targets(tmp_path: Path) -> None:
    images = training(tmp_path, [image(), image(8, "b.png", 4, 3)], [annotation(segmentation=[SQUARE])])
    assert images.has_masks
    _, target = images.read(1, 3)
    assert [(name, tuple(value.shape), value.dtype) for name, value in target.items()] == [
        ("boxes", (0, 4), torch.float32), ("labels", (0,), torch.int64), ("masks", (0, 3, 4), torch.uint8),
        ("has_mask", (0,), torch.bool),
    ]  # fmt: skip


def as_runs(mask: np.ndarray) -> list[int]:
    """Lengths of runs of 0, 1, 0 ... down the columns."""
    pixels = mask.ravel(order="F").tolist()
    runs = [0] if pixels[0] else []
    return runs + [len(list(run)) for _, run in groupby(pixels)]


def test_segmentations_of_all_kinds_are_rasterised_as_coco_does(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    height, width = 23, 31
    mask = (rng.random((height, width)) < 0.4).astype(np.uint8)
    polygons = [(rng.random((7, 2)) * (1.4 * width, 1.4 * height) - 4).round(2).ravel().tolist() for _ in range(2)]
    code = published.encode(np.asfortranarray(mask))["counts"].decode()
    segmentations = [polygons, {"size": [23, 31], "counts": as_runs(mask)}, {"size": [23, 31], "counts": code}]
    rows = [annotation(i, bbox=[0, 0, width, height], segmentation=s) for i, s in enumerate(segmentations)]
    rows += [annotation(9, iscrowd=1)]  # crowds need none
    images = training(tmp_path, [image(width=width, height=height)], rows)
    assert images.has_masks
    masks = images.read(0, 3)[1]["masks"]
    expected = published.merge(published.frPyObjects(polygons, height, width))
    assert 20 < published.area(expected) < height * width - 20
    assert (masks.dtype, masks.shape) == (torch.uint8, (3, height, width))
    assert published.encode(np.asfortranarray(masks[0]))["counts"] == expected["counts"]
    assert masks[1].equal(masks[2])
    assert masks[1].tolist() == mask.tolist()
    assert rasterised([np.array(SQUARE, dtype=float)], (6, 8)).tolist() == [
        [0] * 8, *[[0, 0, 1, 1, 1, 1, 0, 0]] * 3, [0] * 8, [0] * 8
    ]  # fmt: skip


def test_masks_belong_to_the_objects_that_are_left(tmp_path: Path) -> None:
    left, right = [[0, 0, 2, 0, 2, 6, 0, 6]], [[6, 0, 8, 0, 8, 6, 6, 6]]
    rows = [annotation(1, segmentation=left, iscrowd=1), annotation(2, bbox=[6, 0, 2, 6], segmentation=right)]
    images = training(tmp_path, None, rows)
    _, target = images.read(0, 3)
    assert target["masks"].sum(dim=(0, 1)).tolist() == [0, 0, 0, 0, 0, 0, 6, 6]
    alone = images.boxes_alone().read(0, 3)[1]
    assert alone.keys() == {"boxes", "labels"}
    assert alone["boxes"].equal(target["boxes"])


@pytest.mark.parametrize("bare", [{}, {"segmentation": []}, {"segmentation": [[]]}, {"segmentation": [[1, 1, 2, 2]]}])
def test_an_object_without_segmentation_is_learnt_by_its_box(tmp_path: Path, bare: Row) -> None:
    images = training(tmp_path, None, [annotation(1, segmentation=[SQUARE]), annotation(2, **bare)])
    assert images.has_masks
    assert [segmentation is None for segmentation in images.objects[0].segmentations] == [False, True]
    target = images.read(0, 3)[1]
    assert target["has_mask"].tolist() == [True, False]
    assert target["masks"].sum(dim=(1, 2)).tolist() == [12, 0]


def test_fewer_than_half_with_segmentations_are_boxes(tmp_path: Path) -> None:
    rows = [annotation(1, segmentation=[SQUARE]), annotation(2), annotation(3)]
    images = training(tmp_path, None, rows)
    assert not images.has_masks
    assert images.read(0, 3)[1].keys() == {"boxes", "labels"}
    assert training(tmp_path, None, [*rows[:2], annotation(3, iscrowd=1)]).has_masks


@pytest.mark.parametrize(
    "counts", [[40], published.encode(np.asfortranarray(np.ones((6, 7), np.uint8)))["counts"].decode()]
)
def test_codes_that_do_not_fill_the_image_are_named(tmp_path: Path, counts: Any) -> None:
    images = training(tmp_path, None, [annotation(5, segmentation={"size": [6, 8], "counts": counts})])
    with pytest.raises(TwinsError, match=r"a\.png: annotation 5: cannot be rasterised .*; fix its segmentation"):
        images.read(0, 3)
    images.boxes_alone().read(0, 3)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_boxes_are_those_of_upright_images(tmp_path: Path, suffix: str) -> None:
    images = training(tmp_path, [image(file_name=f"a.{suffix}", width=6, height=8)], [annotation(bbox=[0, 5, 6, 3])])
    write_image(images.images[0], 8, 6, turned=True)
    opened, target = images.read(0, channels=1)
    assert (opened.mode, opened.size, target["boxes"].tolist()) == ("L", (6, 8), [[0, 5, 6, 8]])
    write_image(images.images[0], 6, 8, turned=True)
    with pytest.raises(
        TwinsError, match=rf"a\.{suffix}: 8 x 6 pixels, but annotated as 6 x 8; width and height are swapped"
    ):
        images.read(0, 3)
    write_image(images.images[0], 6, 9)
    with pytest.raises(TwinsError, match="6 x 9 pixels, but annotated as 6 x 8; annotate each image in the size"):
        images.read(0, 3)


def test_broken_and_missing_images_are_named(tmp_path: Path) -> None:
    images = training(tmp_path)
    images.images[0].write_bytes(b"<html>404</html>")
    with pytest.raises(UnreadableImageError, match=r"a\.png"):
        images.read(0, 3)
    images.images[0].unlink()
    with pytest.raises(UnreadableImageError, match=r"a\.png"):
        images.read(0, 3)


def test_parts_of_a_set_and_copies_in_other_processes(tmp_path: Path) -> None:
    rows = [annotation(i, i, bbox=[i, 0, 2, 2], segmentation=[SQUARE]) for i in range(5)]
    images = training(tmp_path, [image(i, f"{i}.png") for i in range(5)], rows)
    for part in (images.subset([4, 1]), pickle.loads(pickle.dumps(images.subset([4, 1])))):  # noqa: S301
        assert ([Path(part.name(i)).name for i in range(len(part))], part.image_ids) == (["4.png", "1.png"], [4, 1])
        assert [part.object_name(i, 0)[-1] for i in range(2)] == ["4", "1"]
        assert [o.boxes.tolist() for o in part.subset([1]).objects] == [[[1, 0, 2, 2]]]
        assert part.read(0, 3)[1]["masks"].sum() == 12
    assert [len(part.objects) for part in (images, images.subset([]))] == [5, 0]


# From a recipe


def opened(root: Path, **fields: Any) -> tuple[BoxedImages | None, BoxedImages]:
    return open_boxed(DetectRecipe(data=str(root), **fields))


def test_a_part_is_val_where_there_is_none(tmp_path: Path) -> None:
    rows = [annotation(i, i) for i in range(10)] + [annotation(10, 77)]
    training(tmp_path, [image(i, f"{i}.png") for i in range(10)], rows)
    file = tmp_path / "annotations/instances_train.json"
    train, val = opened(tmp_path, val_split=0.3)
    assert train is not None
    assert (len(train), len(val)) == (7, 3)
    assert sorted([*train.image_ids, *val.image_ids]) == list(range(10))
    assert len(train.warnings) == 1  # of one file, given once
    line = "no validation images named; 3 of 10 images are set aside for validation (--val-split 0.3, seed 0)"
    assert val.warnings == (f"{tmp_path}: {line}",)
    again, _ = opened(file, val_split=0.3)
    assert again is not None
    assert again.image_ids == train.image_ids
    none, every = open_boxed(DetectRecipe(data=str(tmp_path), val_split=0.0), evaluation_only=True)
    assert (none, len(every)) == (None, 10)


def test_val_images_alone_are_for_evaluation(tmp_path: Path) -> None:
    write(tmp_path / "annotations/instances_val.json")
    write_image(tmp_path / "val/a.png")
    with pytest.raises(TwinsError, match="no training images"):
        opened(tmp_path)
    train, val = open_boxed(DetectRecipe(data=str(tmp_path)), evaluation_only=True)
    assert (train, len(val)) == (None, 1)


def test_folders_without_boxes(tmp_path: Path) -> None:
    layouts = (
        r"; --data takes a folder with annotations/instances_train\.json.* \(COCO\), or with data\.yaml, .* \(YOLO\)"
    )
    with pytest.raises(TwinsError, match=f"gone: no such file or folder{layouts}"):
        opened(tmp_path / "gone")
    with pytest.raises(TwinsError, match=f"no boxes there{layouts}"):
        opened(tmp_path)
    (tmp_path / "data.zip").write_bytes(b"PK")
    with pytest.raises(TwinsError, match=rf"data\.zip: no boxes there{layouts}"):
        opened(tmp_path / "data.zip")
    for name in ("ant", "bee"):
        write_image(tmp_path / "classes/train" / name / "a.png")
    with pytest.raises(TwinsError, match=rf"no boxes there \(a folder a class\? pass --task classify\){layouts}"):
        opened(tmp_path / "classes")
    for name in ("images", "masks"):
        write_image(tmp_path / "masked" / name / "a.png")
    with pytest.raises(TwinsError, match=rf"no boxes there \(images and masks\? pass --task segment\){layouts}"):
        opened(tmp_path / "masked")


@pytest.mark.parametrize(("name", "part"), [
    ("instances_train2017.json", "train"), ("instances_val2017.json", "val"), ("my-training.json", "train"),
    ("validation.json", "val"), ("latest.json", "train"), ("instances_intervals.json", "train"),
    ("instances_test.json", "val"), ("train_and_val.json", "train"),
])  # fmt: skip
def test_a_file_that_is_named_is_all_the_data(tmp_path: Path, name: str, part: str) -> None:
    """For validation where its name says so in a word of its own, to train on else."""
    (tmp_path / name).touch()
    assert annotation_files(tmp_path / name) == (
        (tmp_path / name, None) if part == "train" else (None, tmp_path / name)
    )

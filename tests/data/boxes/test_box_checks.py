"""The look through boxes before training: what it counts, what it refuses, and what it says."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile

from twins.data.boxes.checks import BoxFindings, BoxTally, examine, findings
from twins.data.boxes.dataset import BoxedImages, Objects
from twins.data.boxes.layouts import open_boxed
from twins.data.boxes.object_masks import Outline
from twins.data.boxes.survey import look_through, survey_boxes
from twins.data.statistics import TRAINING, VALIDATION
from twins.recipes import DetectRecipe, find_recipe

SIZE = (200, 160)  # width, height
SQUARE = [np.array([2.0, 1, 6, 1, 6, 4, 2, 4])]
RECIPE = DetectRecipe(workers=0)


def write_image(path: Path, width: int = SIZE[0], height: int = SIZE[1]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height)).save(path)
    return path


def objects(*rows: tuple[int, Sequence[float]], crowd: Sequence[int] = (), outlined: Sequence[int] = ()) -> Objects:
    """(label, [x, y, width, height]) each; places of those that are crowds, and of those with an outline."""
    boxes = np.array([box for _, box in rows], dtype=np.float64).reshape(-1, 4)
    outlines: list[Outline | None] = [SQUARE if place in outlined else None for place in range(len(rows))]
    return Objects(
        boxes,
        np.array([label for label, _ in rows], dtype=np.int64),
        np.isin(np.arange(len(rows)), crowd),
        boxes[:, 2] * boxes[:, 3],
        tuple(outlines),
    )


def boxed(root: Path, *of_images: Objects, **fields: Any) -> BoxedImages:
    """An image for each of these, which have ids 100, 101 ... in the first, 200, 201 ... in the second."""
    return BoxedImages(
        [write_image(root / f"{i:03d}.png") for i in range(len(of_images))],
        of_images,
        [SIZE] * len(of_images),
        range(len(of_images)),
        ("ant", "bee", "cat"),
        (0, 1, 2),
        has_masks=False,
        object_ids=[np.arange(len(o)) + 100 * i for i, o in enumerate(of_images, start=1)],
        **fields,
    )


def found_in(images: BoxedImages, **options: Any) -> BoxFindings:
    return findings(images, examine(images, range(len(images)), workers=0), **options)


def test_classes_and_sizes_are_counted(tmp_path: Path) -> None:
    images = boxed(
        tmp_path,
        objects((0, [0, 0, 31, 33]), (0, [0, 0, 32, 32]), (2, [0, 0, 96, 95]), (2, [0, 0, 96, 96])),
        objects((2, [0, 0, 5, 5]), (1, [0, 0, 50, 50]), crowd=[1]),
        objects(),
    )
    write_image(images.images[2], 10, 20)
    images.sizes[2] = (10, 20)  # type: ignore[index]
    found = found_in(images)
    assert found.objects == ((1, 1, 0), (0, 0, 0), (1, 1, 1))
    assert found.images == (1, 0, 2)
    assert found.sizes == ((10, 20), SIZE)
    assert found.errors == ()
    assert found.warnings == (
        f"images without objects: {images.name(2)}",
        f"crowds, not learnt from: {images.name(1)}: annotation 201",
        "classes that never occur: bee",
    )


def test_odd_boxes_are_named(tmp_path: Path) -> None:
    images = boxed(
        tmp_path,
        objects((0, [0, 0, 0.9, 9]), (1, [5, 5, -2, 9]), (2, [5, 5, 9, 0])),
        objects((0, [200, 0, 9, 9]), (1, [-20, 5, 20.5, 9]), (2, [0, 0, 3, 3])),
        objects((0, [-1, -1, 9, 9]), (1, [-1.5, 0, 9, 9]), (2, [150, 100, 51.5, 60]), (0, [0, 150, 9, 90])),
    )
    name = images.object_name
    assert found_in(images).warnings == (
        f"boxes of less than a pixel, left out: {name(0, 0)}; {name(0, 1)}; {name(0, 2)}",
        f"boxes outside of their images, left out: {name(1, 0)}; {name(1, 1)}",
        f"boxes that reach out of their images, clipped: {name(2, 1)}; {name(2, 2)}; {name(2, 3)}",
    )
    assert name(1, 1) == f"{images.name(1)}: annotation 201"
    assert found_in(images).objects == ((2, 0, 0), (1, 0, 0), (1, 1, 0))


def test_no_more_than_three_are_named(tmp_path: Path) -> None:
    images = boxed(tmp_path, *[objects((0, [0, 0, 0, 0]), (1, [0, 0, 9, 9]))] * 5)
    names = "; ".join(images.object_name(i, 0) for i in range(3))
    assert found_in(images).warnings[0] == f"boxes of less than a pixel, left out: {names} and 2 more"


def test_outlines_are_missed_where_others_have_one(tmp_path: Path) -> None:
    rows = [(label, [0.0, 0, 9, 9]) for label in range(3)]
    assert found_in(boxed(tmp_path, objects(*rows))).warnings == ()
    assert found_in(boxed(tmp_path, objects(*rows, outlined=[0, 1, 2]))).warnings == ()
    images = boxed(tmp_path, objects(*rows, outlined=[0, 1]), objects(*rows, outlined=[1, 2], crowd=[0]))
    assert found_in(images).warnings[1:] == (
        "objects without an outline where others have one, so that no masks are learnt: " + images.object_name(0, 2),
    )


def test_what_the_files_lack_comes_first(tmp_path: Path) -> None:
    images = boxed(tmp_path, objects(), faults=("a.json: wrong",), oddities=("a.json: odd",))
    assert found_in(images).errors == ("a.json: wrong",)
    assert found_in(images).warnings[0] == "a.json: odd"


def test_nothing_to_learn_is_an_error(tmp_path: Path) -> None:
    images = boxed(tmp_path, objects(), objects((0, [0, 0, 9, 9]), crowd=[0]))
    assert found_in(images).errors == (f"{tmp_path}: no object to learn from or to be measured by in any of 2 images",)


@pytest.fixture
def spoilt(tmp_path: Path) -> BoxedImages:
    """Six images, of which two are of another size, one is broken, and one is not there."""
    images = boxed(tmp_path, *[objects(*[(label, [0, 0, 9, 9]) for label in range(3)])] * 6)
    write_image(images.images[1], SIZE[1], SIZE[0])
    write_image(images.images[2], 7, 5)
    images.images[3].write_bytes(b"<html>")
    images.images[4].unlink()
    return images


def test_bad_images_are_told_by_kind(spoilt: BoxedImages) -> None:
    found = found_in(spoilt)
    other_size, swapped, unreadable = found.errors
    assert other_size == (
        f"{spoilt.name(2)}: 7 x 5 pixels, but annotated as 200 x 160; annotate each image in the size that it has"
    )
    assert swapped.startswith(
        f"{spoilt.name(1)}: 160 x 200 pixels, but annotated as 200 x 160; width and height are swap"
    )
    assert unreadable.startswith(f"unreadable: {spoilt.name(3)}: ")
    assert f"; {spoilt.name(4)}: " in unreadable
    assert unreadable.endswith("; fix these files, or pass --bad-images skip")
    assert (found.warnings, found.objects) == ((), ((2, 0, 0),) * 3)
    skipping = found_in(spoilt, skip_unreadable=True)
    assert skipping.errors == (other_size, swapped)
    assert skipping.warnings[0].startswith(f"unreadable, left out: {spoilt.name(3)}: ")
    assert not any("\n" in line for line in found.errors + skipping.warnings)


def test_heads_tell_sizes_and_decoding_finds_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = boxed(tmp_path, *[objects((0, [0, 0, 9, 9]))] * 3)
    content = images.images[1].read_bytes()
    images.images[1].write_bytes(content[: len(content) // 2])
    assert examine(images, range(3), 0).unreadable.count == 0
    assert examine(images, range(3), 0, decode=True).unreadable.count == 1
    whole = objects((0, [0, 0, 9, 9]), outlined=[0])
    too_short = Objects(*whole[:4], outlines=({"size": [160, 200], "counts": b"X2"},))
    outlined = replace(boxed(tmp_path / "outlined", whole, too_short), has_masks=True)
    assert findings(outlined, examine(outlined, range(2), 0)).errors == ()
    (problem,) = findings(outlined, examine(outlined, range(2), 0, decode=True)).errors
    assert problem.startswith(f"{outlined.object_name(1, 0)}: cannot be drawn")

    def load(image: ImageFile.ImageFile) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    assert examine(images, range(3), 0).images == Counter({0: 3})


def test_shares_add_up_to_the_whole(tmp_path: Path, spoilt: BoxedImages) -> None:
    rng = np.random.default_rng(0)
    many = boxed(
        tmp_path / "many",
        *[
            objects(
                *[(int(rng.integers(3)), rng.uniform(-30, 220, 4).tolist()) for _ in range(rng.integers(5))],
                crowd=[1],
                outlined=[0, 2],
            )
            for _ in range(25)
        ],
    )
    looks = {id(images): [examine(images, [i], 0) for i in range(len(images))] for images in (many, spoilt)}

    @given(st.data())
    def check(data: st.DataObject) -> None:
        for images in (many, spoilt):
            ranks = data.draw(st.integers(1, 30))
            shares = [sum(looks[id(images)][r::ranks], BoxTally()) for r in range(ranks)]
            assert sum(data.draw(st.permutations(shares)), BoxTally()) == examine(images, range(len(images)), 0)

    check()
    alone = examine(many, range(1, 25), workers=0)
    assert examine(many, range(1, 25), workers=2) == alone
    assert pickle.loads(pickle.dumps(alone)) == alone  # noqa: S301


def test_images_that_are_there_twice(tmp_path: Path) -> None:
    rows = [objects(*[(label, [0, 0, 9, 9]) for label in range(3)])] * 3
    images = boxed(tmp_path, *rows)
    assert look_through({TRAINING: images}, RECIPE)[TRAINING].warnings == ()
    twice = images.subset([0, 2, 0])
    found = look_through({TRAINING: twice, VALIDATION: images.subset([1, 2])}, RECIPE)
    assert found[TRAINING].warnings == (f"images that are listed more than once: {images.name(0)}",)
    assert found[VALIDATION].warnings == (f"images that are in training as well: {images.name(2)}",)


def test_survey_has_a_row_a_class(tmp_path: Path) -> None:
    train = boxed(tmp_path / "train", objects((0, [0, 0, 9, 9]), (0, [0, 0, 50, 50]), (2, [0, 0, 9, 9])), objects())
    val = boxed(tmp_path / "val", objects((1, [0, 0, 99, 99])))
    val.images[0].unlink()
    survey = survey_boxes({TRAINING: train, VALIDATION: val}, RECIPE)
    assert survey.parts == (
        "training: 2 images, 200 x 160; 3 objects, without outlines",
        "validation: 1 images with boxes, of which none can be used",
    )
    counts = ("objects", "images", "S/M/L %")
    assert survey.columns == ("class", "training: objects", *counts[1:], "validation: objects", *counts[1:])
    assert survey.rows == (
        ("ant", "2", "1", "50/50/0", "0", "0", "0/0/0"),
        ("bee", "0", "0", "0/0/0", "0", "0", "0/0/0"),
        ("cat", "1", "1", "100/0/0", "0", "0", "0/0/0"),
    )
    assert [error[:22] for error in survey.errors] == ["validation: unreadable"]
    assert survey.warnings[:2] == (
        f"training: images without objects: {train.name(1)}",
        "training: classes that never occur: bee",
    )


def test_unreadable_images_are_skipped_where_the_recipe_says_so(spoilt: BoxedImages) -> None:
    stopping, skipping = (
        look_through({VALIDATION: spoilt}, RECIPE.replace(bad_images=policy)) for policy in ("stop", "skip")
    )
    assert len(stopping[VALIDATION].errors) == len(skipping[VALIDATION].errors) + 1


def test_embedded_canvases_are_fit_for_training(tmp_path: Path) -> None:
    recipe = find_recipe("digits", "detect").replace(output=str(tmp_path))
    assert isinstance(recipe, DetectRecipe)
    train, val = open_boxed(recipe)
    assert train is not None
    assert train.classes == val.classes == tuple("0123456789")
    assert (len(train), len(val), train.has_masks, val.has_masks) == (1000, 120, True, True)
    found = look_through({TRAINING: train, VALIDATION: val}, recipe)
    assert [f.errors for f in found.values()] == [(), ()]
    assert [[w.split(":")[0] for w in f.warnings] for f in found.values()] == [["images without objects"]] * 2
    image, target = val.read(0, 3)
    for box, mask in zip(target["boxes"].int().tolist(), target["masks"], strict=True):
        rows, columns = (mask.any(dim=axis).nonzero() for axis in (1, 0))
        assert box == [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]
    assert image.size == (96, 96)

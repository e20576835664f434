"""The check of boxes before training: what it counts, what it refuses, and what it warns of."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile
from torchvision.ops import box_iou

from helpers.tallies import assert_shares_add_up
from twins.data.boxes.box_formats import FORMATS, YOLO_BOX
from twins.data.boxes.checks import BoxTally, box_statistics, check_boxes, checked_boxes, count_boxes
from twins.data.boxes.dataset import BoxedImages, Objects, corners_of
from twins.data.boxes.odd_objects import _repeated
from twins.data.boxes.segmentations import Segmentation, compressed_rle, rle_of
from twins.data.check_results import TRAINING, VALIDATION, CheckedPart, raise_first_error
from twins.data.checks import tally_images
from twins.data.split import split_parts
from twins.errors import TwinsError
from twins.recipes import DetectRecipe

SIZE = (160, 200)  # height, width
RECIPE = DetectRecipe(workers=0)


def write_image(path: Path, height: int = SIZE[0], width: int = SIZE[1]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height)).save(path)
    return path


def square(x: float, y: float, width: float, height: float) -> Segmentation:
    return [np.array([x, y, x + width, y, x + width, y + height, x, y + height])]


def objects(*rows: tuple[int, Sequence[float]], crowd: Sequence[int] = (), segmented: Sequence[int] = ()) -> Objects:
    """(label, [x, y, width, height]) each; which of them are crowds, and which have a segmentation."""
    boxes = np.array([box for _, box in rows], dtype=np.float64).reshape(-1, 4)
    segmentations = [square(*box) if i in segmented else None for i, (_, box) in enumerate(rows)]
    return Objects(
        boxes,
        np.array([label for label, _ in rows], dtype=np.int64),
        np.isin(np.arange(len(rows)), crowd),
        boxes[:, 2] * boxes[:, 3],
        tuple(segmentations),
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


def tally(images: BoxedImages, indices: Iterable[int], decode: bool = False, **options: Any) -> BoxTally:
    return tally_images(partial(count_boxes, images, decode), BoxTally(), indices, **options)


def checked(images: BoxedImages, decode: bool = False, **options: Any) -> CheckedPart[BoxTally]:
    return checked_boxes(images, tally(images, range(len(images)), decode), **options)


def test_classes_and_sizes_are_counted(tmp_path: Path) -> None:
    images = boxed(
        tmp_path,
        objects((0, [0, 0, 31, 33]), (0, [40, 0, 32, 32]), (2, [0, 0, 96, 95]), (2, [0, 50, 96, 96])),
        objects((2, [0, 0, 5, 5]), (1, [0, 0, 50, 50]), crowd=[1]),
        objects(),
    )
    write_image(images.images[2], 20, 10)
    images.sizes[2] = (20, 10)  # type: ignore[index]
    found = checked(images)
    assert [found.tally.by_area(label) for label in range(3)] == [(1, 1, 0), (0, 0, 0), (1, 1, 1)]
    assert found.tally.images == Counter({0: 1, 2: 2})
    assert found.tally.sizes.extremes == ((20, 10), SIZE, (20, 10))
    assert str(found.tally.sizes) == "10 x 20 to 200 x 160"
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
    assert checked(images).warnings == (
        f"boxes of less than a pixel, left out: {name(0, 0)}; {name(0, 1)}; {name(0, 2)}",
        f"boxes outside of their images, left out: {name(1, 0)}; {name(1, 1)}",
        f"boxes that reach out of their images, clipped: {name(2, 1)}; {name(2, 2)}; {name(2, 3)}",
    )
    assert name(1, 1) == f"{images.name(1)}: annotation 201"
    assert [checked(images).tally.by_area(label) for label in range(3)] == [(2, 0, 0), (1, 0, 0), (1, 1, 0)]


def test_no_more_than_three_are_named(tmp_path: Path) -> None:
    images = boxed(tmp_path, *[objects((0, [0, 0, 0, 0]), (1, [0, 0, 9, 9]))] * 5)
    names = "; ".join(images.object_name(i, 0) for i in range(3))
    assert checked(images).warnings[0] == f"boxes of less than a pixel, left out: {names} and 2 more"


def test_segmentations_are_missed_where_others_have_one(tmp_path: Path) -> None:
    rows = [(label, [0.0, 0, 9, 9]) for label in range(3)]
    assert checked(boxed(tmp_path, objects(*rows))).warnings == ()
    assert checked(boxed(tmp_path, objects(*rows, segmented=[0, 1, 2]))).warnings == ()
    images = boxed(tmp_path, objects(*rows, segmented=[0, 1]), objects(*rows, segmented=[1, 2], crowd=[0]))
    for has_masks, kind in (
        (True, "objects without a segmentation, learnt by their box alone"),
        (False, "objects without a segmentation, more than have one, so that no masks are learnt"),
    ):
        warnings = checked(replace(images, has_masks=has_masks)).warnings
        assert warnings[1:] == (f"{kind}: {images.object_name(0, 2)}",)


def with_segmentations(root: Path, *pairs: tuple[Sequence[float], Segmentation], **fields: Any) -> BoxedImages:
    """One image of objects, each x, y, width, height and a segmentation."""
    rows = objects(*[(i % 3, box) for i, (box, _) in enumerate(pairs)])
    return boxed(root, Objects(*rows[:4], tuple(segmentation for _, segmentation in pairs)), **fields)


def test_segmentations_are_compared_with_their_boxes(tmp_path: Path) -> None:
    box, nothing = [20.0, 30, 40, 20], compressed_rle({"size": list(SIZE), "counts": [SIZE[0] * SIZE[1]]})
    cases = {
        "boxes that disagree with their segmentations, which are not learnt where they lie elsewhere": [
            square(80, 90, 40, 20),
            square(20, 30, 15, 20),  # a part
            square(0, 0, 100, 100),  # much more
            rle_of(square(50, 30, 40, 20), SIZE),
        ],
        "segmentations without a pixel, whose objects are learnt by their box alone": [
            square(500, 30, 40, 20),
            square(20, 30, 40, 0),
            nothing,
            [np.array([20.0, 30, 60, 50, 20, 30])],  # a line, aslant
        ],
    }
    right = [
        square(*box),
        square(21, 29, 41, 21),
        square(18, 30, 42, 20),
        rle_of(square(*box), SIZE),
        square(20, 30, 30, 15),
    ]
    for kind, wrong in cases.items():
        for segmentation in wrong:
            images = with_segmentations(tmp_path, *[(box, s) for s in (*right, segmentation)])
            found = checked(images)
            assert f"{kind}: {images.object_name(0, 5)}" in found.warnings
            assert found.errors == ()
    names = " ".join(checked(with_segmentations(tmp_path, *[(box, s) for s in right])).warnings)
    assert not any(kind in names for kind in cases)


@pytest.mark.parametrize("written", [name for name in FORMATS if name != "x, y, width, height"])
@pytest.mark.parametrize("segmented", [True, False])
def test_boxes_in_another_format_are_an_error_that_names_it(tmp_path: Path, written: str, segmented: bool) -> None:
    height, width = SIZE
    boxes = [(x, y, 44 + 2 * i, 30 + i) for i, (x, y) in enumerate([(5, 9), (120, 60), (70, 120), (148, 110)])]
    as_written = {
        "x0, y0, x1, y1": lambda x, y, w, h: [x, y, x + w, y + h],
        "centre x, centre y, width, height": lambda x, y, w, h: [x + w / 2, y + h / 2, w, h],
        "y0, x0, y1, x1": lambda x, y, w, h: [y, x, y + h, x + w],
        "y, x, height, width": lambda x, y, w, h: [y, x, h, w],
        "shares of the image's sides": lambda x, y, w, h: [x / width, y / height, w / width, h / height],
    }[written]
    if segmented:
        images = with_segmentations(tmp_path, *[(as_written(*box), square(*box)) for box in boxes])
    else:
        images = boxed(tmp_path, objects(*[(0, as_written(*box)) for box in boxes]))
    found = checked(images)
    assert len(found.errors) == 1
    assert found.errors[0].endswith(f"; they look like {written}: write x, y, width, height")
    assert " of 4 boxes " in found.errors[0]
    with pytest.raises(TwinsError, match=f"they look like {written}"):
        raise_first_error({TRAINING: found})


def test_boxes_of_larger_images_are_an_error_though_no_format_fits(tmp_path: Path) -> None:
    images = boxed(tmp_path, objects(*[(0, [300 + 10 * i, 20, 30, 40]) for i in range(3)], (0, [5, 5, 20, 20])))
    (error,) = checked(images).errors
    assert error.startswith(f"3 of 4 boxes reach out of their images: {images.object_name(0, 0)}; ")
    assert error.endswith("; write x, y, width, height, in pixels")


def test_a_few_boxes_that_are_wrong_are_no_error(tmp_path: Path) -> None:
    """A quarter reaches out; read as x0, y0, x1, y1 that quarter would lie inside, but not the others."""
    rows = [(0, [150, 100, 160, 120]), *[(1, [60 + 20 * i, 60, 30, 30]) for i in range(3)]]
    assert checked(boxed(tmp_path, objects(*rows))).errors == ()


def test_yolo_boxes_that_are_no_centres_are_told_in_its_own_words(tmp_path: Path) -> None:
    """As its reader takes x0, y0, x1, y1 for a centre, width and height."""
    corners = [(5, 9, 60, 40), (120, 60, 170, 100), (70, 120, 100, 155), (148, 110, 196, 150)]
    boxes = [(0, [x0 - x1 / 2, y0 - y1 / 2, x1, y1]) for x0, y0, x1, y1 in corners]
    (error,) = checked(boxed(tmp_path, objects(*boxes), box_format=YOLO_BOX)).errors
    assert error.endswith("; they look like x0, y0, x1, y1: write centre x, centre y, width, height")


def test_objects_that_are_annotated_twice_are_named(tmp_path: Path) -> None:
    images = boxed(
        tmp_path,
        objects((0, [10, 10, 40, 40]), (1, [10, 10, 40, 40]), (0, [11, 10, 40, 41]), (0, [14, 14, 40, 40])),
        objects((2, [50, 50, 9, 9]), (2, [50, 50, 9, 9]), (2, [50, 50, 9, 9]), crowd=[2]),
        objects(*[(0, [10 + 3 * i, 10, 40, 40]) for i in range(20)]),
    )
    twice = f"{images.object_name(0, 2)}; {images.object_name(1, 1)}"
    assert checked(images).warnings[1] == f"objects annotated twice, of one class in almost the same box: {twice}"


@given(
    boxes=st.lists(st.tuples(st.integers(0, 1), *[st.sampled_from([0.0, 1, 2, 40, 41])] * 2, *[st.floats(20, 25)] * 2))
)
def test_repeated_objects_are_those_with_a_similar_one_before(boxes: list[tuple[float, ...]]) -> None:
    of_image = objects(*[(int(label), box) for label, *box in boxes])
    ious = box_iou(*[torch.from_numpy(corners_of(of_image.boxes))] * 2).numpy() if boxes else np.zeros((0, 0))
    similar = (ious >= 0.9) & (of_image.labels[:, None] == of_image.labels)
    assert _repeated(of_image).tolist() == np.tril(similar, -1).any(axis=1).tolist()


def test_what_the_files_lack_comes_first(tmp_path: Path) -> None:
    images = boxed(tmp_path, objects(), errors=("a.json: wrong",), warnings=("a.json: odd",))
    assert checked(images).errors == ("a.json: wrong",)
    assert checked(images).warnings[0] == "a.json: odd"


def test_nothing_to_learn_is_an_error(tmp_path: Path) -> None:
    images = boxed(tmp_path, objects(), objects((0, [0, 0, 9, 9]), crowd=[0]))
    assert checked(images).errors == (f"{tmp_path}: no object to learn from or to be measured by in any of 2 images",)


@pytest.fixture
def spoilt(tmp_path: Path) -> BoxedImages:
    """Six images, of which two are of another size, one is broken, and one is not there."""
    images = boxed(tmp_path, *[objects(*[(label, [0, 0, 9, 9]) for label in range(3)])] * 6)
    write_image(images.images[1], SIZE[1], SIZE[0])
    write_image(images.images[2], 5, 7)
    images.images[3].write_bytes(b"<html>")
    images.images[4].unlink()
    return images


def test_bad_images_are_named_by_kind(spoilt: BoxedImages) -> None:
    found = checked(spoilt)
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
    assert (found.warnings, found.tally.objects) == ((), Counter({(label, 0): 2 for label in range(3)}))
    skipping = checked(spoilt, skip_unreadable=True)
    assert skipping.errors == (other_size, swapped)
    assert skipping.warnings[0].startswith(f"unreadable, left out: {spoilt.name(3)}: ")
    assert not any("\n" in line for line in found.errors + skipping.warnings)


def test_heads_tell_sizes_and_decoding_finds_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = boxed(tmp_path, *[objects((0, [0, 0, 9, 9]))] * 3)
    content = images.images[1].read_bytes()
    images.images[1].write_bytes(content[: len(content) // 2])
    assert tally(images, range(3)).unreadable.count == 0
    assert tally(images, range(3), decode=True).unreadable.count == 1
    whole = objects((0, [0, 0, 9, 9]), segmented=[0])
    too_short = Objects(*whole[:4], segmentations=({"size": [160, 200], "counts": b"X2"},))
    segmented = boxed(tmp_path / "segmented", whole, too_short)
    for decode in (False, True):
        (error,) = checked(segmented, decode=decode).errors
        assert error.startswith(f"{segmented.object_name(1, 0)}: cannot be rasterised")

    def load(image: ImageFile.ImageFile) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    assert tally(images, range(3)).images == Counter({0: 3})


def test_shares_add_up_to_the_whole(tmp_path: Path, spoilt: BoxedImages) -> None:
    rng = np.random.default_rng(0)
    many = boxed(
        tmp_path / "many",
        *[
            objects(
                *[(int(rng.integers(3)), rng.uniform(-30, 220, 4).tolist()) for _ in range(rng.integers(5))],
                crowd=[1],
                segmented=[0, 2],
            )
            for _ in range(25)
        ],
    )
    for images in (many, spoilt):
        every = range(len(images))
        assert_shares_add_up([tally(images, [i]) for i in every], tally(images, every))
    alone = tally(many, range(1, 25))
    assert tally(many, range(1, 25), workers=2, chunk=5) == alone
    assert pickle.loads(pickle.dumps(alone)) == alone  # noqa: S301


def test_images_that_are_there_twice(tmp_path: Path) -> None:
    rows = [objects(*[(label, [0, 0, 9, 9]) for label in range(3)])] * 3
    images = boxed(tmp_path, *rows)
    assert check_boxes({TRAINING: images}, RECIPE)[TRAINING].warnings == ()
    twice = images.subset([0, 2, 0])
    train, val = split_parts(twice, images.subset([1, 2]), RECIPE, evaluation_only=False)
    found = check_boxes({TRAINING: train, VALIDATION: val}, RECIPE)
    assert found[TRAINING].warnings == (f"images that are listed more than once: {images.name(0)}",)
    assert found[VALIDATION].warnings == (f"images that are in training as well: {images.name(2)}",)


def test_statistics_have_a_row_a_class(tmp_path: Path) -> None:
    train = boxed(tmp_path / "train", objects((0, [0, 0, 9, 9]), (0, [0, 0, 50, 50]), (2, [0, 0, 9, 9])), objects())
    val = boxed(tmp_path / "val", objects((1, [0, 0, 99, 99])))
    val.images[0].unlink()
    statistics = box_statistics({TRAINING: train, VALIDATION: val}, RECIPE)
    assert statistics.parts == (
        "training: 2 images, 200 x 160; 3 objects, without segmentations",
        "validation: 1 images with boxes, of which none can be used",
    )
    counts = ("objects", "images", "S/M/L %")
    assert statistics.columns == ("class", "training: objects", *counts[1:], "validation: objects", *counts[1:])
    assert statistics.rows == (
        ("ant", "2", "1", "50/50/0", "0", "0", "0/0/0"),
        ("bee", "0", "0", "0/0/0", "0", "0", "0/0/0"),
        ("cat", "1", "1", "100/0/0", "0", "0", "0/0/0"),
    )
    assert [error[:22] for error in statistics.errors] == ["validation: unreadable"]
    assert statistics.warnings[:2] == (
        f"training: images without objects: {train.name(1)}",
        "training: classes that never occur: bee",
    )


def test_unreadable_images_are_skipped_where_the_recipe_says_so(spoilt: BoxedImages) -> None:
    stopping, skipping = (
        check_boxes({VALIDATION: spoilt}, RECIPE.replace(bad_images=policy)) for policy in ("stop", "skip")
    )
    assert len(stopping[VALIDATION].errors) == len(skipping[VALIDATION].errors) + 1

"""Annotation files with a field changed to anything: each is read, or refused in one line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.image_files import write_image
from twins.data.boxes.checks import check_boxes
from twins.data.boxes.coco import read_coco
from twins.data.boxes.dataset import BoxedImages
from twins.data.boxes.yolo import read_yolo
from twins.data.images import UnreadableImageError
from twins.errors import TwinsError
from twins.metrics.detection import DetectionMetrics
from twins.recipes import DetectRecipe

COCO = {
    "info": {"year": 2024},
    "images": [
        {"id": 1, "file_name": "a.png", "width": 8, "height": 6},
        {"id": "two", "file_name": "b.png"},
    ],
    "categories": [
        {"id": 0, "name": "pets", "supercategory": "none"},
        {"id": 1, "name": "cat", "supercategory": "pets"},
    ],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 3], "area": 12.0, "iscrowd": 0,
         "segmentation": [[1, 1, 5, 1, 5, 4, 1, 4]]},
        {"id": 2, "image_id": "two", "category_id": 1, "bbox": None, "iscrowd": 1,
         "segmentation": {"size": [6, 8], "counts": [6, 6, 36]}},
        {"id": 3, "image_id": 1, "category_id": 1, "segmentation": {"size": [6, 8], "counts": "66T1"}},
    ],
}  # fmt: skip
YOLO_LABELS = "0 0.5 0.5 0.25 0.5\n1 0.1 0.1 0.6 0.1 0.6 0.7\n"

NAN, INF = float("nan"), float("inf")
ODD = [
    None, True, False, 0, -1, 1, 2, 1.0, 12.5, 2**31, 2**53 + 1, 2**63, -(2**63), 10**30, 10**400, NAN, INF, -INF, 1e19,
    1e308, -1e308, 5e-324, "", " ", "0", "1", "12", "1.0", "1e3", "-0", "012", "nan", "inf", "two", "x" * 5000, "é",
    "\ud800", "\x00", "a\x00.png", "a\nb\x1b[2J", "..", "/", "../../etc/passwd", "a.png", "b\\a.png", "none", [], [[]],
    [[[]]], {}, {"size": [6, 8]}, {"size": [2**31, 2], "counts": []}, {"counts": "x"}, [None], ["1"], [1, 2],
    [1, 1, 4, "3"], [0, 0, 0, 0], [1e308] * 4, [-5, -5, 1e9, 1e9], [[1, 1, 1e9, 1, 1e9, 1e9]], [[1, 1] * 3],
    [[-1e9, 0, 0, -1e9, 1e9, 1e9]], [[NAN] * 6], [["1"] * 6], [[True] * 6], [0] * 50, [48], [0, 48], [-1, 49],
    [2**32, 1], [2**40], [1.5, 46.5], ["48"], "\x00\x01", "66T1" * 50, "~~~~~~~~",
]  # fmt: skip


def paths_into(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Keys and indices of everything in a value of JSON."""
    yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inside:
        yield from paths_into(child, (*path, key))


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A copy with something else there; with `...` it is removed."""
    if not path:
        return None if new is ... else new
    key, *rest = path
    keys: Any = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    if key not in keys:  # changed before
        return value
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    if rest or new is not ...:
        copy[key] = changed(copy[key], tuple(rest), new)
    else:
        del copy[key]
    return copy


PATHS = list(paths_into(COCO))
CHANGES = st.lists(st.tuples(st.sampled_from(PATHS), st.sampled_from([..., *ODD])), min_size=1, max_size=3)


def use(images: BoxedImages | None) -> None:
    """Everything that training and evaluation ask of it, with no error but of the kinds that are announced."""
    if images is None:
        return
    check_boxes({"validation": images}, DetectRecipe(data="data", workers=0))
    for index in range(len(images)):
        try:
            images.read(index, 3)
        except UnreadableImageError:
            continue
    DetectionMetrics(images, masks=False).results()


def read_or_refused(read: Any, root: Path) -> bool:
    """Whether it is read; a refusal is one line of bounded length."""
    refusal = ""
    try:
        for images in read(root):
            use(images)
    except TwinsError as error:
        refusal = str(error)
    assert "\n" not in refusal.replace("a\nb", "")  # a class's own name, which is escaped where it is shown
    assert len(refusal) < 25_000
    return not refusal


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("coco")
    for name in "ab":
        write_image(root / f"{name}.png")
    return root


def test_the_file_itself_is_read(coco: Path) -> None:
    (coco / "annotations.json").write_text(json.dumps(COCO))
    assert read_or_refused(read_coco, coco)


@given(CHANGES)
@settings(max_examples=150)
def test_coco_with_odd_fields(coco: Path, changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    content: Any = COCO
    for path, new in changes:
        content = changed(content, path, new)
    (coco / "annotations.json").write_text(json.dumps(content))
    read_or_refused(read_coco, coco)


WORDS = ["0", "1", "1.0", "1e+00", "-1", "2", "0.5", "5e-1", "nan", "inf", "1e308", "x", "1_0", "\x00", "\ufeff", "#"]
YAML_VALUES = [
    "", "~", "images", "[images, images]", "[]", "{}", "5", "gone", "images/a.png", "'x\\y'", "&a [*a]", "*b", "[[a]]",
    "!!python/name:os.system", "2024-01-01", "x" * 999, '"\\0"', "{0: a, 1: b}", "{1: a}", "{1.0: a, '0': b}", "[no]",
    "? [a]", "<<: {a: b}", "|\n  x", "2", "'2.0'", "1e400", "- a", "\t", "\x07",
]  # fmt: skip
LINES = st.lists(st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join), max_size=3)
FIELDS = st.dictionaries(
    st.sampled_from(["path", "train", "val", "nc", "names"]), st.sampled_from(YAML_VALUES), max_size=2
)


@pytest.fixture(scope="module")
def yolo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("yolo")
    write_image(root / "images/a.png")
    (root / "labels").mkdir()
    return root


@given(LINES, FIELDS)
@settings(max_examples=100)
def test_yolo_with_odd_fields(yolo: Path, lines: list[str], fields: dict[str, str]) -> None:
    usual = {"path": ".", "train": "images", "val": "images", "nc": "2", "names": "[cat, dog]"}
    text = "".join(f"{key}: {value}\n" for key, value in {**usual, **fields}.items())
    (yolo / "data.yaml").write_text(text, encoding="utf-8")
    (yolo / "labels/a.txt").write_text("\n".join(lines) or YOLO_LABELS, encoding="utf-8")
    read_or_refused(read_yolo, yolo)

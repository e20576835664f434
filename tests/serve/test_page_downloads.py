"""What the page hands out: results of several images as JSON, CSV and COCO, as they are shown."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers.chromium import launched
from helpers.page_visits import Visit, model, png_bytes
from helpers.stand_in_server import Answer, Problem, StandIn, serving

NAMES = ["first.png", 'with "quotes", commas.png', "damaged.png", "last.png"]
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools decodes

WHY = "damaged.png: damaged"
SIZE = {"width": 60, "height": 40}
MASK = np.zeros((40, 60), dtype=np.uint8)
MASK[5:30, 10:25] = 2
INK = np.zeros((40, 60), dtype=np.uint8)
INK[12:18, 21:40] = 1


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as browser:
        yield browser


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    for name in NAMES:
        Image.new("RGB", (60, 40)).save(tmp_path / name)
    return [tmp_path / name for name in NAMES]


def finished(browser: Any, served: dict[str, Any], result: dict[str, Any], files: list[Path]) -> Iterator[Visit]:
    """A visit in which each image has this result, but the third has none."""

    def answer(asked: Any) -> Answer:
        return Problem(422, WHY) if asked.file == "damaged.png" else SIZE | result

    with serving(StandIn([served], answer)) as server, Visit(browser, server.url) as visit:
        visit.choose(*files)
        visit.wait_for_text("#status", "4 images finished, 1 without a result")
        yield visit


@pytest.fixture
def detected(browser: Any, files: list[Path]) -> Iterator[Visit]:
    mask_api = pytest.importorskip("pycocotools.mask", reason="it encodes the masks")
    encoded = mask_api.encode(np.asfortranarray(INK))
    sure = {"label": 1, "name": "night, jar", "score": 0.875, "box": [20.5, 10.0, 40.0, 30.25]}
    sure["mask"] = {"size": [40, 60], "counts": encoded["counts"].decode()}
    faint = {"label": 0, "name": "owl", "score": 0.25, "box": [0.0, 0.0, 9.0, 9.0]}
    faint["mask"] = {"size": [40, 60], "counts": mask_api.encode(np.asfortranarray(0 * INK))["counts"].decode()}
    result = {"objects": [sure, faint], "colours": [[9, 9, 9], [200, 0, 0]]}
    served = {**model("birds", "detect", ["owl", "night, jar"]), "category_ids": [3, 17]}
    yield from finished(browser, served, result, files)


@pytest.fixture
def segmented(browser: Any, files: list[Path]) -> Iterator[Visit]:
    shares = np.bincount(MASK.ravel(), minlength=3) / MASK.size
    result = {
        "mask": base64.b64encode(png_bytes(MASK)).decode(),
        "pixels": [{"label": i, "name": name, "share": shares[i]} for i, name in ((0, "ground"), (2, "tree"))],
        "colours": [[0, 0, 0], [9, 9, 9], [0, 90, 0]],
    }
    yield from finished(browser, model("scenes", "segment", ["ground", "sky", "tree"]), result, files)


@pytest.fixture
def classified(browser: Any, files: list[Path]) -> Iterator[Visit]:
    result = {
        "classes": [{"label": i, "name": f"class {i}", "probability": p} for i, p in ((2, 0.75), (0, 0.125), (1, 0.1))]
    }
    yield from finished(browser, model("things", "classify", ["class 0", "class 1", "class 2"]), result, files)


def rows(visit: Visit) -> list[list[str]]:
    return list(csv.reader(visit.download("#download-csv").splitlines()))


def test_objects_that_score_enough_as_json_and_csv(detected: Visit) -> None:
    document = json.loads(detected.download("#download-json"))
    assert (document["model"], document["task"]) == ("birds", "detect")
    assert [result["file"] for result in document["results"]] == NAMES
    assert document["results"][2] == {"file": "damaged.png", "error": WHY}
    (only,) = document["results"][0]["objects"]
    assert (only["name"], only["score"], only["box"]) == ("night, jar", 0.875, [20.5, 10.0, 40.0, 30.25])
    row = ["night, jar", "0.87500", "20.5", "10.0", "40.0", "30.3"]
    assert rows(detected) == [
        ["file", "class", "score", "x0", "y0", "x1", "y1"],
        *([name, *row] for name in NAMES if name != "damaged.png"),
    ]


def test_objects_load_as_coco(detected: Visit, tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco", reason="what the file is for").COCO
    (tmp_path / "found.json").write_text(detected.download("#download-coco"), encoding="utf-8")
    found = coco(tmp_path / "found.json")
    assert [(image["id"], image["file_name"]) for image in found.loadImgs(found.getImgIds())] == [
        (1, NAMES[0]), (2, NAMES[1]), (3, NAMES[3])
    ]  # fmt: skip
    assert found.loadCats(found.getCatIds()) == [{"id": 3, "name": "owl"}, {"id": 17, "name": "night, jar"}]
    (only,) = found.loadAnns(found.getAnnIds(imgIds=[3]))
    assert (only["category_id"], only["score"], only["area"]) == (17, 0.875, INK.sum())
    assert only["bbox"] == [20.5, 10.0, 19.5, 20.25]
    assert np.array_equal(found.annToMask(only), INK)
    results = found.loadRes(json.loads((tmp_path / "found.json").read_text())["annotations"])
    assert len(results.anns) == 3


def test_a_lower_threshold_hands_out_more(detected: Visit) -> None:
    detected.run("document.querySelector('#level').value = 0.2; document.querySelector('#level').oninput()")
    assert [row[1] for row in rows(detected)[1:3]] == ["night, jar", "owl"]
    assert len(json.loads(detected.download("#download-coco"))["annotations"]) == 6


def test_masks(segmented: Visit, tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco", reason="what the file is for").COCO
    (tmp_path / "found.json").write_text(segmented.download("#download-coco"), encoding="utf-8")
    found = coco(tmp_path / "found.json")
    ground, tree = found.loadAnns(found.getAnnIds(imgIds=[2]))
    assert (ground["category_id"], tree["category_id"]) == (1, 3)
    assert np.array_equal(found.annToMask(tree), MASK == 2)
    assert np.array_equal(found.annToMask(ground), MASK == 0)
    assert (tree["bbox"], tree["area"]) == ([10, 5, 15, 25], 375)
    assert rows(segmented)[:3] == [
        ["file", "class", "share"],
        ["first.png", "ground", "0.84375"],
        ["first.png", "tree", "0.15625"],
    ]
    result = json.loads(segmented.download("#download-json"))["results"][3]
    assert base64.b64decode(result["mask"]) == png_bytes(MASK)


def test_classes(classified: Visit) -> None:
    classified.run("document.querySelector('#level').value = 2; document.querySelector('#level').oninput()")
    wanted = ["class 2", "0.75000", "class 0", "0.12500"]
    assert rows(classified) == [
        ["file", "class1", "probability1", "class2", "probability2"],
        *([name, *wanted] for name in NAMES if name != "damaged.png"),
    ]
    assert len(json.loads(classified.download("#download-json"))["results"][0]["classes"]) == 2

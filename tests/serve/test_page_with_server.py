"""The page in front of the server itself, with a network of each kind."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from io import BytesIO
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.chromium import launched
from helpers.page_visits import Visit
from helpers.servers import listening, noise
from serve.conftest import KINDS, QUIET
from twins.client import Client
from twins.data.palette import class_colours
from twins.serve.models import ServedModel


@pytest.fixture(scope="module")
def address(models: list[ServedModel]) -> Iterator[str]:
    with listening(models, QUIET) as address:
        yield address


@pytest.fixture(scope="module")
def visit(address: str) -> Iterator[Visit]:
    with launched() as browser, Visit(browser, f"{address}/") as visit:
        yield visit


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "noise.png"
    noise(80, 60).save(path)
    return path


def show(visit: Visit, kind: str, file: Path) -> None:
    """This image alone, with the result of this network."""
    if visit.page.locator("#clear").is_visible():
        visit.page.click("#clear")
    visit.page.select_option("#model", kind)
    visit.choose(file)
    visit.wait_for_text("#image-size", "80 x 60")


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_place_attends_to(visit: Visit, file: Path, kind: str) -> None:
    show(visit, kind, file)
    visit.page.click("#stage")
    visit.wait_for_text("#status", "The heat map shows what column")
    assert visit.page.locator("#image-problem").is_hidden()


def test_classes(visit: Visit, address: str, file: Path) -> None:
    show(visit, "classify", file)
    wanted = Client(address).predict([file])[0]["classes"]
    shown = [f"{one['name']} {100 * one['probability']:.1f} %" for one in wanted]
    assert [text.replace("\n", " ") for text in visit.page.locator("#panel li").all_inner_texts()] == shown


def test_a_mask(visit: Visit, address: str, file: Path) -> None:
    show(visit, "upernet", file)
    (result,) = Client(address).predict([file], model="upernet")
    mask = np.array(Image.open(BytesIO(base64.b64decode(result["mask"]))))
    visit.run("document.querySelector('#level').value = 1; document.querySelector('#level').oninput()")
    colours = class_colours(3)
    for x, y in product((10, 40, 70), (10, 30, 50)):
        assert visit.pixel(x, y) == colours[mask[y, x]].tolist()


@pytest.mark.parametrize("kind", ["retinanet", "mask_rcnn"])
def test_objects(visit: Visit, address: str, file: Path, kind: str) -> None:
    show(visit, kind, file)
    visit.run("document.querySelector('#level').value = 0; document.querySelector('#level').oninput()")
    (result,) = Client(address).predict([file], model=kind, conf=0.05)
    assert visit.page.locator("#panel tbody tr").count() == len(result["objects"])


def test_a_file_that_is_no_image(visit: Visit, tmp_path: Path) -> None:
    visit.page.click("#clear")
    (tmp_path / "notes.jpg").write_text("no image")
    visit.choose(tmp_path / "notes.jpg")
    visit.wait_for_text("#image-problem", "notes.jpg: cannot identify image file")

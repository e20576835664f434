"""The page on a phone and a desktop, in light and dark: it fits, and everything can be read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from helpers.chromium import DESKTOP, launched
from helpers.page_visits import Visit, model
from helpers.stand_in_server import Answer, Asked, Problem, StandIn, serving

NARROW = {"width": 360, "height": 740}
LONG = "a-class-with-a-name-that-has-no-spaces-" * 4
FOUND = {
    "width": 64,
    "height": 48,
    "colours": [[255, 38, 38], [40, 200, 90]],
    "objects": [
        {"label": 0, "name": LONG, "score": 0.9, "box": [2.0, 3.0, 30.0, 40.0]},
        {"label": 1, "name": "person", "score": 0.8, "box": [20.0, 3.0, 63.0, 40.0]},
    ],
}
# Least contrast of any text that is seen, [ratio, text]. A colour's luminance is WCAG's.
LEAST_CONTRAST = """() => {
    const rgba = (colour) => {
        const [red, green, blue, alpha = 1] = colour.match(/[0-9.]+/g).map(Number);
        return [red, green, blue, alpha];
    };
    const luminance = (colour) => {
        const [red, green, blue] = colour.map((value) => value / 255)
            .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const ground = (element) => {
        for (let one = element; one; one = one.parentElement) {
            const colour = rgba(getComputedStyle(one).backgroundColor);
            if (colour[3] === 1) return colour;
        }
        return rgba(getComputedStyle(document.documentElement).backgroundColor);
    };
    const found = [];
    for (const one of document.querySelectorAll("body *")) {
        const text = [...one.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data.trim()).join("");
        if (!text || !one.checkVisibility({ checkVisibilityCSS: true }) || one.matches(":disabled, .unseen")) continue;
        const pair = [getComputedStyle(one).color, null].map((c) => luminance(c ? rgba(c) : ground(one)));
        found.push([(Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05), text]);
    }
    return found.sort((a, b) => a[0] - b[0])[0];
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as browser:
        yield browser


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    names = [f"{number}-{'x' * 60}.png" for number in range(9)]
    for name in names:
        Image.new("RGB", (64, 48)).save(tmp_path / name)
    return [tmp_path / name for name in names]


@pytest.fixture
def server() -> Iterator[StandIn]:
    def answer(asked: Asked) -> Answer:
        return Problem(422, f"{asked.file}: damaged") if asked.file.startswith("1-") else FOUND

    models = [model(LONG[:64], "detect", [LONG, "person"]), model("other", "classify", ["a"])]
    with serving(StandIn(models, answer)) as stand_in:
        yield stand_in


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [NARROW, DESKTOP], ids=["phone", "desktop"])
def test_the_page_fits_and_can_be_read(
    browser: Any, server: StandIn, files: list[Path], viewport: dict[str, int], scheme: str
) -> None:
    def check(visit: Visit, state: str) -> None:
        assert visit.run("document.documentElement.scrollWidth") == viewport["width"], state
        ratio, text = visit.run(LEAST_CONTRAST)
        assert ratio >= 4.5, (state, text)

    with Visit(browser, server.url, viewport, scheme) as visit:
        paper = visit.run("getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number)")
        assert min(paper) > 230 if scheme == "light" else max(paper) < 40
        check(visit, "empty")
        visit.choose(*files)
        visit.wait_for_text("#status", "9 images finished")
        check(visit, "with results")
        visit.page.click("#images li:nth-child(2) button")
        visit.wait_for_text("#image-problem", "damaged")
        check(visit, "with an error")
        stage = visit.page.locator("#stage").bounding_box()
        assert stage["width"] > 240
        assert stage["height"] <= 0.7 * viewport["height"] + 1


def test_small_screens_show_the_image_first(browser: Any, server: StandIn, files: list[Path]) -> None:
    with Visit(browser, server.url, NARROW) as visit:
        visit.choose(files[0])
        visit.wait_for_text("#headline", "2 objects")
        stage, headline = (visit.page.locator(part).bounding_box() for part in ("#stage", "#headline"))
        assert stage["y"] < headline["y"]
        assert stage["y"] + stage["height"] < NARROW["height"]


def test_nothing_moves_for_those_who_asked_for_that(browser: Any, server: StandIn) -> None:
    moving = "[...document.querySelectorAll('*')].map((one) => getComputedStyle(one).transitionDuration)"
    for wish, wanted in (("reduce", {"0s"}), ("no-preference", {"0s", "0.15s"})):
        with Visit(browser, server.url, reduced_motion=wish) as visit:
            assert set(visit.run(moving)) == wanted

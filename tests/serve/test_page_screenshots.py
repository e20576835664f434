"""Screenshots of the page in docs/plots, of networks that `twins train --task TASK` left: `runs/TASK/digits`.

TWINS_RUNS=runs python -m pytest -m slow tests/serve/test_page_screenshots.py
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from helpers.chromium import DESKTOP, PHONE, launched
from helpers.page_visits import Visit
from helpers.servers import listening
from serve.conftest import QUIET
from twins.data.digits import read_digits
from twins.data.synthetic_scenes import draw_scene
from twins.serve.models import open_models
from twins.serve.settings import ServeSettings

RUNS = os.environ.get("TWINS_RUNS")
PLOTS = Path(__file__).parents[2] / "docs" / "plots"
TASKS = ("classify", "detect", "segment")
IMAGES = 7
MOST_BYTES = 150_000

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(RUNS is None, reason="TWINS_RUNS names no folder with classify/digits, detect/digits ..."),
]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    weights = tuple(f"digits-{task}={RUNS}/{task}/digits/checkpoint_best.pth" for task in TASKS)
    with listening(open_models(ServeSettings(weights)), QUIET) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as browser:
        yield browser


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Validation images of each task."""
    folder = tmp_path_factory.mktemp("images")
    _, scans = read_digits()
    for number in range(IMAGES):
        Image.fromarray(scans.images[number]).save(folder / f"scan-{number}.png")
        Image.fromarray(draw_scene(scans, "validation", number).image).save(folder / f"scene-{number}.png")
    of_kind = {kind: sorted(folder.glob(f"{kind}-*.png")) for kind in ("scan", "scene")}
    return {task: of_kind["scan" if task == "classify" else "scene"] for task in TASKS}


@pytest.mark.parametrize(("suffix", "viewport", "scheme"), [("", DESKTOP, "light"), ("-phone", PHONE, "dark")])
@pytest.mark.parametrize("task", TASKS)
def test_screenshots(
    browser: Any,
    address: str,
    files: dict[str, list[Path]],
    task: str,
    suffix: str,
    viewport: dict[str, int],
    scheme: str,
) -> None:
    with Visit(browser, f"{address}/", viewport, scheme) as visit:
        visit.page.select_option("#model", f"digits-{task}")
        visit.choose(*files[task])
        visit.wait_for_text("#status", f"{IMAGES} images finished, 0 without")
        visit.page.click("#images li:last-child button")
        if task == "classify" and not suffix:
            visit.page.click("#stage")
            visit.wait_for_text("#status", "attends to")
        visit.pixel(0, 0)  # once all is drawn
        shot = Image.open(BytesIO(visit.page.screenshot(full_page=True)))
    path = PLOTS / f"serve-{task}{suffix}.png"
    shot.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    assert path.stat().st_size < MOST_BYTES

"""The page's reading and writing of masks, beside pycocotools."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from helpers.chromium import launched
from helpers.page_visits import Visit, always, model, png_bytes
from helpers.stand_in_server import Problem, StandIn, serving

mask_api = pytest.importorskip("pycocotools.mask", reason="pycocotools is what the page's masks are held against")


@pytest.fixture(scope="module")
def visit() -> Iterator[Visit]:
    stand_in = StandIn([model("scenes", "segment", ["a", "b"])], always(Problem(404, "no request is needed")))
    with serving(stand_in) as server, launched() as browser, Visit(browser, server.url) as visit:
        yield visit


def some_masks() -> dict[str, np.ndarray]:
    """(H, W) uint8 of zeros and ones."""
    rng = np.random.default_rng(0)
    disc = np.hypot(*np.ogrid[-300:300, -400:400]) < 250
    corners = np.zeros((7, 5), dtype=np.uint8)
    corners[[0, 0, -1, -1], [0, -1, 0, -1]] = 1
    return {
        "empty": np.zeros((9, 4), dtype=np.uint8),
        "full": np.ones((9, 4), dtype=np.uint8),
        "one pixel": np.ones((1, 1), dtype=np.uint8),
        "corners": corners,
        "noise": rng.integers(0, 2, (37, 53), dtype=np.uint8),
        "row": rng.integers(0, 2, (1, 300), dtype=np.uint8),
        "disc": disc.astype(np.uint8),
        "large": np.pad(np.ones((1, 2), dtype=np.uint8), ((2999, 0), (2500, 1500))),
    }


def encode(mask: np.ndarray) -> dict[str, Any]:
    encoded: dict[str, Any] = mask_api.encode(np.asfortranarray(mask))
    return {**encoded, "counts": encoded["counts"].decode()}


def runs(mask: np.ndarray) -> list[int]:
    """Lengths down the columns, of zeros first."""
    pixels = mask.ravel(order="F").astype(bool)
    changes = np.flatnonzero(np.diff(pixels, prepend=False))
    return np.diff(changes, prepend=0, append=pixels.size).tolist()


@pytest.mark.parametrize("name", some_masks())
def test_run_lengths(visit: Visit, name: str) -> None:
    mask = some_masks()[name]
    encoded = encode(mask)
    found, written = visit.run(
        """async (counts) => {
            const { runsOf, textOf } = await import("/page/coco_rle.js");
            return [runsOf(counts), textOf(runsOf(counts))];
        }""",
        encoded["counts"],
    )
    assert [run for run in found if run] == [run for run in runs(mask) if run]
    assert written == encoded["counts"]


def cells(visit: Visit, mask: np.ndarray, scale: float, area: tuple[int, int, int, int]) -> set[tuple[int, int]]:
    """(row, column) of the cells in `area`, left, top, right, bottom, that are a one at this scale."""
    found = visit.run(
        """async ([mask, scale, [left, top, right, bottom]]) => {
            const { eachSet } = await import("/page/coco_rle.js");
            const found = [];
            eachSet(mask, scale, { left, top, right, bottom }, (column, row) => found.push([row, column]));
            return found;
        }""",
        [encode(mask), scale, area],
    )
    return {(row, column) for row, column in found}


@pytest.mark.parametrize("scale", [1, 0.37, 3, 2.6])
def test_a_mask_at_any_scale(visit: Visit, scale: float) -> None:
    """Each cell has the pixel below its centre; cells outside of the area are not looked at."""
    mask = some_masks()["noise"]
    height, width = (round(side * scale) for side in mask.shape)
    rows, columns = (
        np.minimum(((np.arange(cells) + 0.5) / scale).astype(int), side - 1)
        for cells, side in zip((height, width), mask.shape, strict=True)
    )
    wanted = {(int(row), int(column)) for row, column in np.argwhere(mask[np.ix_(rows, columns)])}
    assert cells(visit, mask, scale, (0, 0, width, height)) == wanted
    left, top, right, bottom = width // 4, height // 3, width - 2, height - 3
    inside = {(row, column) for row, column in wanted if left <= column < right and top <= row < bottom}
    assert cells(visit, mask, scale, (left, top, right, bottom)) == inside


@pytest.mark.parametrize("size", [(40, 30), (1, 1), (5, 300), (300, 257)])
def test_the_region_of_each_class(visit: Visit, size: tuple[int, int]) -> None:
    """Of a mask of class indices, 255 too; wider than the columns that are read at once."""
    rng = np.random.default_rng(1)
    classes = np.array([0, 1, 7, 255], dtype=np.uint8)[rng.integers(0, 4, size)]
    classes[: size[0] // 2] = 7
    regions = visit.run(
        """async (base64) => {
            const { decodeMask } = await import("/page/index_mask.js");
            const { regionsOf } = await import("/page/mask_regions.js");
            return regionsOf(await decodeMask(base64));
        }""",
        base64.b64encode(png_bytes(classes)).decode(),
    )
    wanted = []
    for label in np.unique(classes).tolist():
        encoded = encode((classes == label).astype(np.uint8))
        box, area = mask_api.toBbox(encoded).tolist(), int(mask_api.area(encoded))
        wanted.append({"label": label, "bbox": box, "area": area, "segmentation": encoded})
    assert regions == wanted

"""`twins bench --loading`: which files are read, which pixels count as equal, and what the rows hold."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

from twins.bench import input_pipeline
from twins.bench.input_pipeline import OURS, THEIRS, measure_pipeline
from twins.bench.photographs import write_photographs
from twins.bench.plan import DATA_SIZES, Case, data_cases
from twins.bench.run import run_cases
from twins.timing import Pace

pytestmark = pytest.mark.skipif(
    not (find_spec("simplejpeg") and find_spec("skimage")),
    reason="simplejpeg and scikit-image (bench) are not installed",
)
ONE_BLOCK = Pace(blocks=1, seconds=0)


def case(use: str) -> Case:
    return Case("data", use, (375, 500), 10, ())


def test_photographs_have_the_size_and_differ(tmp_path: Path) -> None:
    for size in DATA_SIZES:
        root = tmp_path / str(size[0])
        files = sorted((root / "train").rglob("*.jpg")) if write_photographs(root, size) == 10 else []
        assert (
            len(files) == len({file.read_bytes() for file in files}) == len(list((root / "val").glob("*/*.jpg"))) == 10
        )
        for file in files:
            with Image.open(file) as image:
                assert image.size == size[::-1]
                assert [layer[1:3] for layer in image.layer] == [(2, 2), (1, 1), (1, 1)]  # 4:2:0


@pytest.mark.parametrize("use", ["training", "evaluation"])
def test_all_pipelines_give_the_same_pixels_and_get_results(
    use: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(input_pipeline, "_ROUNDS", 1)
    rows, stopped = measure_pipeline(case(use), ONE_BLOCK, tmp_path)
    theirs, pillow, turbo = rows
    assert not stopped
    assert [row["backend"] for row in rows] == [THEIRS, *OURS]
    assert theirs["error"] == pillow["error"] == 0  # `pillow` gives the original's pixels to the last bit
    assert 0 < turbo["error"] < (0.5 if use == "training" else 0.05)
    assert theirs["speedup_over_timm"] == 1
    assert turbo["speedup_over_timm"] == pytest.approx(turbo["images_per_second"] / theirs["images_per_second"])
    stages = {"read_ms", "crop_ms", "tensor_ms"} | ({"augment_ms"} if use == "training" else set())
    assert all({key for key in row if key.endswith("_ms")} == stages for row in rows)


def test_other_pixels_get_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_pipeline, "_ROUNDS", 1)
    monkeypatch.setattr(input_pipeline, "BOUND", 1e-5)
    rows, _ = measure_pipeline(case("evaluation"), ONE_BLOCK, tmp_path)
    assert ["images_per_second" in row for row in rows] == [True, True, False]
    assert [row["parity"] for row in rows] == [True, True, False]


def test_results_have_a_file_and_a_chart_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_pipeline, "_ROUNDS", 1)
    assert run_cases(data_cases(DATA_SIZES[:1])[1:], ONE_BLOCK, tmp_path, as_json=True)
    (kept,) = tmp_path.glob("data-*.json")
    assert {row["size"] for row in json.loads(kept.read_text())["rows"]} == {"375x500"}
    assert kept.with_suffix(".png").stat().st_size > 1000

"""Files that version 0.1 wrote, a run of each task stopped in its second epoch of three: all are still read.

They were trained on the images of the fixtures here, by networks of a few thousand parameters.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import twins
from helpers.runs import log_of
from twins.cli import main
from twins.predict import load_predictor
from twins.recipes import find_recipe

OLD_RUNS = Path(__file__).parent / "old_runs"
DATA = {"classify": "images", "segment": "masked_images", "detect": "boxed_images"}
DECIDES = {"classify": "acc1", "segment": "miou", "detect": "ap"}


@pytest.fixture(params=list(DATA))
def task(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def old_run(task: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD_RUNS / task, tmp_path / "runs" / task / "tiny"))


@pytest.fixture
def data(task: str, request: pytest.FixtureRequest) -> Path:
    return Path(request.getfixturevalue(DATA[task]))


def test_a_run_goes_on_from_the_step_where_it_was_stopped(task: str, old_run: Path, data: Path) -> None:
    before = twins.read_checkpoint(old_run / "checkpoint.pth")
    assert (before["epoch"], before["step"]) == (0, 2)
    assert main(["train", "--resume", str(old_run / "checkpoint.pth"), "--data", str(data)]) == 0
    checkpoint = twins.read_checkpoint(old_run / "checkpoint.pth")
    assert (checkpoint["epoch"], checkpoint["step"]) == (2, 0)
    assert checkpoint["best"]["value"] >= before["best"]["value"]
    rows = log_of(old_run)
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert all(f"val_{DECIDES[task]}" in row for row in rows[1:])
    assert checkpoint["best"]["value"] == max(
        before["best"]["value"], *(row[f"val_{DECIDES[task]}"] for row in rows[1:])
    )
    assert (old_run / "curves.png").is_file()


def test_a_checkpoint_is_evaluated(task: str, old_run: Path, data: Path, tmp_path: Path) -> None:
    weights = str(old_run / "checkpoint.pth")
    assert main(["eval", "--weights", weights, "--data", str(data), "--output", str(tmp_path / "runs")]) == 0
    (metrics,) = (tmp_path / "runs" / task).glob(f"{old_run.name}-eval/metrics.json")
    assert json.loads(metrics.read_text())["images"] == {"classify": 15, "segment": 5, "detect": 6}[task]


def test_a_checkpoint_predicts(task: str, old_run: Path, data: Path) -> None:
    predictor = load_predictor(old_run / "checkpoint.pth", device="cpu")
    assert predictor.name == "tiny"
    image = next(path for path in sorted(data.rglob("*.png")) if "masks" not in path.parts)
    assert predictor(image).classes == tuple(json.loads((old_run / "split.json").read_text())["classes"])


def test_a_recipe_is_read(task: str, old_run: Path) -> None:
    recipe = find_recipe(str(old_run / "recipe.json"), task)
    assert (recipe.name, recipe.epochs, recipe.model_kwargs["embed_dims"]) == ("tiny", 3, [8, 8, 16, 16])

"""Exported networks evaluated by the recipe of their run: the same metrics, and one line for what they cannot do."""

from __future__ import annotations

from typing import Any

import pytest

from helpers.eager_exports import as_exported
from helpers.runs import leave_plots_out
from twins.errors import TwinsError
from twins.recipes import ClassifyRecipe, Recipe, SegmentRecipe
from twins.runtimes.exported_info import ExportedInfo
from twins.training.evaluation import evaluate_checkpoint, recipe_of_checkpoint
from twins.training.loop import fit


def metrics(source: Any, **changes: Any) -> dict[str, float]:
    recipe = recipe_of_checkpoint(source, changes={"device": "cpu", "workers": 0, **changes})
    return evaluate_checkpoint(recipe, source, announce=lambda task, metrics: None)


@pytest.mark.parametrize(("fixture", "batch"), [("tiny_recipe", 4), ("tiny_segment_recipe", None)])
def test_metrics_are_those_of_the_checkpoint(
    fixture: str, batch: int | None, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_plots_out(monkeypatch.setattr)
    recipe: Recipe = request.getfixturevalue(fixture).replace(epochs=1)
    weights = fit(recipe).folder / "checkpoint.pth"
    assert metrics(as_exported(weights, batch)) == pytest.approx(metrics(weights), abs=1e-4)


def test_a_part_of_the_images_is_measured_evenly(tiny_recipe: ClassifyRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_plots_out(monkeypatch.setattr)
    weights = fit(tiny_recipe.replace(epochs=1)).folder / "checkpoint.pth"
    measured: list[int] = []
    recipe = recipe_of_checkpoint(weights, changes={"device": "cpu", "workers": 0})
    found = evaluate_checkpoint(
        recipe, weights, announce=lambda task, _: measured.extend(p.image for p in task.predictions), images=4
    )
    assert found["images"] == 4
    assert measured == [0, 3, 7, 11]  # of 15


@pytest.fixture
def exported(tiny_segment_recipe: SegmentRecipe, monkeypatch: pytest.MonkeyPatch) -> ExportedInfo:
    leave_plots_out(monkeypatch.setattr)
    return as_exported(fit(tiny_segment_recipe.replace(epochs=1)).folder / "checkpoint.pth")


def test_what_an_exported_network_cannot_do_is_one_line(exported: ExportedInfo) -> None:
    with pytest.raises(TwinsError, match="is a segmenter, and --task detect takes a detector: leave --task out"):
        recipe_of_checkpoint(exported, "detect")
    for name, value in {"window_padding": "zero", "amp": True, "model": "svt_base", "head": "upernet"}.items():
        with pytest.raises(TwinsError, match=f"computes as it was exported: leave --{name.replace('_', '-')} out"):
            recipe_of_checkpoint(exported, changes={name: value})
    recipe = recipe_of_checkpoint(exported, changes={"device": "cpu"})
    assert (recipe.mean, recipe.std, recipe.amp) == ((0.0,) * 3, (1.0,) * 3, False)

"""Settings as the command line writes them, and in what they differ."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.run_folders import write_run
from twins.recipes import find_recipe
from twins.report.run_files import read_run
from twins.report.settings import Setting, all_settings, departures, differing, written


def test_departures_from_the_nearest_recipe(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "a", epochs=12, mixup=0.5, name="mine", device="cpu"))
    recipe, settings = departures(run.recipe)
    assert recipe == "digits"
    assert settings == (Setting("--epochs", ("12", "40")), Setting("--mixup", ("0.5", "0")))


@pytest.mark.parametrize("task", ["classify", "segment", "detect"])
def test_a_recipe_does_not_depart_from_itself(task: str) -> None:
    recipe = find_recipe("pictures", task).resolve(processes=1)
    assert departures(recipe.to_dict()) == ("pictures", ())


def test_differing_settings_of_several_runs() -> None:
    first = {"task": "classify", "name": "a", "lr": 0.001, "opt": "adamw", "aa": None, "img_size": [64, 96]}
    second = {"task": "classify", "name": "b", "lr": 0.002, "opt": "adamw", "img_size": (64, 96), "track": []}
    assert differing([first, second]) == [
        Setting("--lr", ("0.001", "0.002")),
        Setting("--aa", ("none", "\u2013")),
        Setting("--track", ("\u2013", "none")),
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "none"),
        (True, "on"),
        (False, "off"),
        (1e-6, "1e-06"),
        (0.05, "0.05"),
        ([2, 2, 4, 2], "2 2 4 2"),
        ([], "none"),
        ({"depths": [2, 4], "masks": True}, "depths=2,4 masks=on"),
        ({}, "none"),
    ],
)
def test_values_are_written_as_flags_take_them(value: object, text: str) -> None:
    assert written(value) == text


def test_all_settings_are_listed() -> None:
    assert all_settings({"lr": 0.1, "img_size": 224}) == [("--lr", "0.1"), ("--img-size", "224")]

"""Which networks are served, under which names, and computed by what."""

from __future__ import annotations

from pathlib import Path

import pytest

from twins.errors import TwinsError
from twins.native import library
from twins.serve.models import ServedModel, open_models
from twins.serve.settings import ServeSettings


def test_names_are_those_of_the_networks_made_distinct(weights: dict[str, Path]) -> None:
    one, other = str(weights["classify"]), str(weights["upernet"])
    served = open_models(ServeSettings((one, other, f"mine={one}", one)))
    assert [model.name for model in served] == [
        "twins_svt_small",
        "twins_svt_small-2",
        "mine",
        "twins_svt_small-3",
    ]
    assert [model.task for model in served] == ["classify", "segment", "classify", "classify"]


@pytest.mark.parametrize(("argument", "line"), [
    ("two words={}", "a model's name has up to 64 letters"),
    ("={}", "a model's name has up to 64 letters"),
    ("no/{}.pth=x", "a model's name has up to 64 letters"),
    ("mine=nowhere.pth", "nowhere.pth"),
])  # fmt: skip
def test_names_and_files_that_cannot_be_used(weights: dict[str, Path], argument: str, line: str) -> None:
    with pytest.raises(TwinsError, match=line):
        open_models(ServeSettings((argument.format(weights["classify"]),)))


def test_a_name_is_given_once(weights: dict[str, Path]) -> None:
    twice = tuple(f"mine={weights[kind]}" for kind in ("classify", "upernet"))
    with pytest.raises(TwinsError, match="there is a model of that name already"):
        open_models(ServeSettings(twice))


@pytest.mark.skipif(bool(library.missing()), reason="the engine is not built")
def test_a_cpu_computes_by_the_engine(models: list[ServedModel], weights: dict[str, Path]) -> None:
    assert {model.computed_by for model in models} == {"engine fp32, CPU"}
    (served,) = open_models(ServeSettings((str(weights["classify"]),), dtype="int8"))
    assert served.computed_by == "engine int8, CPU"


def test_a_decoder_is_that_of_classifiers(weights: dict[str, Path]) -> None:
    pytest.importorskip("simplejpeg")
    one, other = str(weights["classify"]), str(weights["upernet"])
    served = open_models(ServeSettings((one, other), decoder="turbo"))
    assert [model.predictor.decoder for model in served] == ["turbo", "pillow"]
    with pytest.raises(TwinsError, match="--decoder turbo is for classifiers, of which there is none"):
        open_models(ServeSettings((other,), decoder="turbo"))


def test_detectors_keep_low_scores_and_masks_bound_the_image(models: list[ServedModel]) -> None:
    by_name = {model.name: model for model in models}
    assert by_name["retinanet"].least_score == 0.05
    assert {name: model.max_megapixels for name, model in by_name.items()} == {
        "classify": 179.0,
        "upernet": 179.0,
        "retinanet": 179.0,
        "mask_rcnn": 25.0,
    }


def test_a_limit_that_is_given_is_that_of_all(weights: dict[str, Path]) -> None:
    files = (str(weights["classify"]), str(weights["mask_rcnn"]))
    assert [m.max_megapixels for m in open_models(ServeSettings(files, max_megapixels=40.0))] == [40.0, 40.0]


def test_a_queue_has_room_for_the_largest_request() -> None:
    with pytest.raises(TwinsError, match="--queue 8 has no room for a request of --max-images 32"):
        ServeSettings((), queue=8)

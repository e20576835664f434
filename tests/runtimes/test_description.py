"""What an exported file says of itself: kept whole, and refused where it is damaged, newer or not met."""

from __future__ import annotations

import json

import pytest
import torch

from helpers.exported import NETWORK, describe, exportable_to
from twins.errors import TwinsError
from twins.networks import size_of_run
from twins.preprocessing import ClassifyPreprocessing, SegmentPreprocessing
from twins.runtimes.description import FORMAT, Description


@pytest.fixture(scope="module")
def description() -> Description:
    return describe(exportable_to("classify"), sizes=((64, 96), (32, 32)), recipe={"name": "tiny", "lr": 0.1})


def test_it_is_read_back_as_it_was(description: Description) -> None:
    checked = description.with_check({"differences": {"logits": 1e-7}})
    again = Description.from_json(checked.to_json(), "a.onnx")
    assert again.sizes == ((64, 96), (32, 32))
    assert again.classes == ("ant", "bee", "cat")
    assert again.checked == {"differences": {"logits": 1e-7}}
    assert again.to_json() == checked.to_json()


def test_it_tells_what_a_checkpoint_would(description: Description) -> None:
    info = Description.from_json(description.to_json(), "a.onnx").info("a.onnx")
    assert (info.source, info.task, info.model, info.head, info.ours) == (
        "a.onnx", "classify", "twins_svt_small", None, True,
    )  # fmt: skip
    assert info.classes == ("ant", "bee", "cat")
    assert info.classes_named
    assert info.create_model["embed_dims"] == list(NETWORK["embed_dims"])
    assert info.recipe == {"name": "tiny", "lr": 0.1}
    assert info.preprocessing == ClassifyPreprocessing(img_size=64, mean=(0.0,) * 3, std=(1.0,) * 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": FORMAT + 1}, "a.onnx: was written by a newer version of twins .*: upgrade twins-vit"),
        ({"task": "paint"}, "a.onnx: description: task holds 'paint'"),
        ({"classes": ["ant"]}, "a.onnx: description has 1 classes for a network of 3 classes"),
        ({"sizes": [[64]]}, "a.onnx: its description is damaged: export it again"),
        ({"sizes": [[64, "x"]]}, "a.onnx: its description is damaged: export it again"),
        ({"smallest_side": None}, "a.onnx: its description is damaged: export it again"),
        ({"surprise": 1}, "a.onnx: its description is damaged: export it again"),
    ],
)
def test_another_one_is_refused(description: Description, change: dict, message: str) -> None:
    with pytest.raises(TwinsError, match=message):
        Description.from_json(json.dumps(json.loads(description.to_json()) | change), "a.onnx")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "3"])
def test_what_is_no_description_is_refused(text: str) -> None:
    with pytest.raises(TwinsError, match="a.onnx: its description is damaged: export it again"):
        Description.from_json(text, "a.onnx")


@pytest.mark.parametrize(
    ("shape", "changes", "message"),
    [
        ((1, 3, 64, 64), {"sizes": ((64, 96),)}, "takes images of 64x96 pixels, not 64x64; export it with --img-size"),
        ((1, 3, 31, 64), {}, "takes images from 32x32 pixels up, not 31x64"),
        ((3, 3, 64, 64), {"batch": 2}, "takes 2 images at once, not 3; export it with --batch"),
        ((1, 1, 64, 64), {}, r"takes float32 images \(B, 3, H, W\) in \[0, 1\], not torch.float32 \(1, 1, 64, 64\)"),
    ],
)
def test_other_images_are_refused(shape: tuple[int, ...], changes: dict, message: str) -> None:
    with pytest.raises(TwinsError, match=message):
        describe(exportable_to("classify"), **changes).check_images(torch.zeros(shape), "a.onnx")


@pytest.mark.parametrize(
    "change",
    [
        *({"dtype": ["fp32"]}, {"outputs": [["logits"]]}, {"outputs": None}),
        *({"versions": [1]}, {"quantisation": ["rest"]}, {"checked": "yes"}),
    ],
)
def test_fields_of_other_types_are_damage(description: Description, change: dict) -> None:
    with pytest.raises(TwinsError, match="a.onnx: its description is damaged: export it again"):
        Description.from_json(json.dumps(json.loads(description.to_json()) | change), "a.onnx")


def test_lists_in_lists_without_end_are_damage() -> None:
    with pytest.raises(TwinsError, match="a.onnx: its description is damaged: export it again"):
        Description.from_json("[" * 100_000, "a.onnx")


@pytest.mark.timeout(20)
def test_it_claims_no_millions_of_classes(description: Description) -> None:
    fields = json.loads(description.to_json())
    fields |= {"classes": [], "category_ids": [], "create_model": {**fields["create_model"], "num_classes": 2**52}}
    with pytest.raises(TwinsError, match=f"a.onnx: claims {2**52} classes, more than it has weights"):
        Description.from_json(json.dumps(fields), "a.onnx").info("a.onnx")


@pytest.mark.parametrize("img_size", ["ab", [1, 2, 3], 0.5, -3, "224"])
def test_a_size_of_training_that_is_none(description: Description, img_size: object) -> None:
    fields = json.loads(description.to_json()) | {"recipe": {"img_size": img_size}}
    fields |= {"task": "segment", "head": "upernet", "preprocessing": SegmentPreprocessing().to_dict()}
    info = Description.from_json(json.dumps(fields), "a.onnx").info("a.onnx")
    with pytest.raises(TwinsError, match="a.onnx: recipe.img_size holds"):
        size_of_run(info)

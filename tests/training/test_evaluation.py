"""Weights of others compute in evaluation and prediction as where they come from, and alike in both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from helpers.foreign import BUILDERS, shrink, written_by
from helpers.image_files import write_image
from twins.checkpoints.info import describe, read_info
from twins.checkpoints.read import read_checkpoint
from twins.cli import main
from twins.errors import TwinsError
from twins.predict import load_predictor
from twins.preprocessing import ClassifyPreprocessing
from twins.recipes import ClassifyRecipe, DetectRecipe, SegmentRecipe
from twins.training import evaluation
from twins.training.evaluation import evaluate_checkpoint, recipe_of_checkpoint, with_conventions

FOLDERS = {"classify": "images", "segment": "masked_images", "detect": "boxed_images"}
CLASSES = {"classify": 3, "segment": 3, "detect": 2}
CPU = {"device": "cpu", "workers": 0}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch, "twins_svt_small")


def task_of(kind: str) -> str:
    return {"upernet": "segment", "semantic_fpn": "segment", "classify": "classify"}.get(kind, "detect")


def varied(network: nn.Module) -> nn.Module:
    """Every parameter random, and small activations, so that an epsilon shows in the outputs."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
            if "patch_embeds" in name and "norm" in name:
                parameter.mul_(0.02)
    return network.eval()


@torch.no_grad()
def outputs(network: nn.Module, images: Tensor) -> Tensor:
    """Logits, or for a detector the maps of its backbone."""
    out = network.backbone(images) if hasattr(network, "selection") else network(images)
    return out if isinstance(out, Tensor) else torch.cat([stage.flatten() for stage in out])


def evaluated_network(
    weights: Path, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch, published: str | None = None
) -> nn.Module:
    """The network that `evaluate_checkpoint` would ask."""
    kept: list[nn.Module] = []
    monkeypatch.setattr(evaluation, "validate", lambda task, model, *_: kept.append(model) or {"images": 0.0})
    info = read_info(weights)
    recipe = recipe_of_checkpoint(info, changes=CPU | changes, published=published)
    evaluate_checkpoint(recipe, info, announce=lambda task, metrics: None)
    return kept[0].eval()


@pytest.mark.parametrize(("kind", "dialect"), [
    ("classify", "OpenMMLab"), ("classify", "public names"),
    ("upernet", "OpenMMLab"), ("upernet", "dense"), ("semantic_fpn", "OpenMMLab"),
    ("retinanet", "OpenMMLab"), ("mask_rcnn", "OpenMMLab"), ("mask_rcnn", "dense"),
])  # fmt: skip
def test_both_compute_as_the_weights_were_trained(
    tmp_path: Path, kind: str, dialect: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """The epsilon is the dialect's, the padding the head's; of 48 x 56 pixels the maps stick out one way, or both."""
    task = task_of(kind)
    padding = {"classify": "mask", "segment": "mask-both", "detect": "zero"}[task]
    epsilon = 1e-5 if dialect == "OpenMMLab" else 1e-6
    plain = varied(BUILDERS[kind]("svt_small", num_classes=CLASSES[task], window_padding=padding, norm_eps=epsilon))
    torch.save(written_by(dialect, plain), tmp_path / "theirs.pth")
    data = {"data": str(request.getfixturevalue(FOLDERS[task]))}
    images = torch.randn(1, 3, 48, 56, generator=torch.Generator().manual_seed(1))
    expected = outputs(plain, images)
    assert torch.equal(outputs(load_predictor(tmp_path / "theirs.pth", "cpu").model, images), expected)
    assert torch.equal(outputs(evaluated_network(tmp_path / "theirs.pth", data, monkeypatch), images), expected)
    for other in ({"window_padding": padding, "norm_eps": 1.1e-5 - epsilon},
                  {"window_padding": "zero" if padding != "zero" else "mask", "norm_eps": epsilon}):  # fmt: skip
        network = BUILDERS[kind]("svt_small", num_classes=CLASSES[task], **other).eval()
        network.load_state_dict(plain.state_dict())
        assert not torch.equal(outputs(network, images), expected)


@pytest.mark.parametrize(("published", "padding"), [(None, "mask-both"), ("upernet_svt_small", "mask-both"),
                                                 ("silent.json", "mask-both"), ("zero.json", "zero")])  # fmt: skip
def test_the_users_choice_comes_first(tmp_path: Path, published: str | None, padding: str) -> None:
    theirs = describe(written_by("OpenMMLab", BUILDERS["upernet"]("svt_small", num_classes=3)), "theirs.pth")
    (tmp_path / "silent.json").write_text('{"task": "segment", "head_channels": 16}')
    (tmp_path / "zero.json").write_text(
        '{"task": "segment", "window_padding": "zero", "model_kwargs": {"norm_eps": 1e-4}}'
    )
    if published and published.endswith(".json"):
        published = str(tmp_path / published)
    recipe = recipe_of_checkpoint(theirs, changes={"data": "x"}, published=published)
    assert isinstance(recipe, SegmentRecipe)
    assert recipe.window_padding == padding
    assert recipe.model_kwargs["norm_eps"] == (1e-4 if padding == "zero" else 1e-5)
    user = {"data": "x", "window_padding": "mask", "model_kwargs": {"norm_eps": 1e-3}}
    recipe = recipe_of_checkpoint(theirs, changes=user, published=published)
    assert (recipe.window_padding, recipe.model_kwargs["norm_eps"]) == ("mask", 1e-3)


def test_the_original_commands_flags_get_the_dialects_epsilon() -> None:
    theirs = describe(written_by("OpenMMLab", BUILDERS["classify"]("svt_small", num_classes=3)), "theirs.pth")
    assert with_conventions(ClassifyRecipe(), theirs).model_kwargs == {"norm_eps": 1e-5}
    flags = ClassifyRecipe(model_kwargs={"norm_eps": 1e-3})
    assert with_conventions(flags, theirs).model_kwargs == {"norm_eps": 1e-3}


def test_both_commands_print_what_was_decided(
    tmp_path: Path, masked_images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    network = BUILDERS["semantic_fpn"]("svt_small", num_classes=3)
    torch.save(written_by("OpenMMLab", network), tmp_path / "theirs.pth")
    monkeypatch.setattr(evaluation, "validate", lambda *_: {"images": 0.0})
    monkeypatch.setattr(evaluation, "write_evaluation", lambda run, task, *_: print(*task.notes))
    monkeypatch.chdir(tmp_path)
    weights = ("--weights", "theirs.pth", "--device", "cpu")
    line = "weights of others (OpenMMLab): LayerNorm eps 1e-05, windows padded as "
    assert main(["eval", *weights, "--data", str(masked_images)]) == 0
    assert f"{line}mask-both\n" in capsys.readouterr().out
    assert main(["eval", *weights, "--data", str(masked_images), "--window-padding", "zero"]) == 0
    assert f"{line}zero\n" in capsys.readouterr().out
    image = next((masked_images / "images" / "val").iterdir())
    assert main(["predict", str(image), *weights, "--no-draw"]) == 0
    assert f"{line}mask-both\n" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["classify", "upernet", "retinanet"])
def test_a_grey_network_sees_grey_images_in_both(tmp_path: Path, kind: str) -> None:
    grey = {"in_chans": 1} | ({"image_mean": (0.4,), "image_std": (0.3,)} if kind == "retinanet" else {})
    network = BUILDERS[kind]("svt_small", num_classes=2, **grey).eval()
    torch.save(network.state_dict(), tmp_path / "grey.pth")
    recipe = recipe_of_checkpoint(tmp_path / "grey.pth", changes={"data": "x"})
    predictor = load_predictor(tmp_path / "grey.pth", "cpu")
    assert (recipe.in_chans, predictor.channels) == (1, 1)
    assert recipe.preprocessing() == predictor.info.preprocessing  # type: ignore[attr-defined]  # of every task's recipe
    assert predictor.model.backbone.in_chans == 1 if kind != "classify" else predictor.model.in_chans == 1


def test_a_moving_average_is_what_both_take(tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, average = (varied(BUILDERS["classify"]("svt_small", num_classes=3)) for _ in range(2))
    torch.save({"state_dict": plain.state_dict(), "state_dict_ema": average.state_dict()}, tmp_path / "timm.pth")
    view = torch.randn(1, 3, 64, 64)
    expected = outputs(average, view)
    assert torch.equal(outputs(load_predictor(tmp_path / "timm.pth", "cpu").model, view), expected)
    network = evaluated_network(tmp_path / "timm.pth", {"data": str(images)}, monkeypatch)
    assert torch.equal(outputs(network, view), expected)


def test_a_checkpoint_of_ours_without_its_recipe_is_evaluated_as_it_is_predicted(tmp_path: Path) -> None:
    meta = {
        "task": "detect",
        "name": "twins_svt_small",
        "detector": "mask_rcnn",
        "create_model": {"num_classes": 2, "in_chans": 1, "window_padding": "mask", "channels": 16, "masks": False},
        "classes": ["ant", "bee"],
        "preprocessing": {"min_size": 48, "max_size": 100, "mean": [0.4], "std": [0.3]},
    }
    info = describe({"format": "twins-1", "model": {}, "meta": meta}, "ours.pth")
    recipe = recipe_of_checkpoint(info, changes={"data": "x"})
    assert isinstance(recipe, DetectRecipe)
    assert (recipe.detector, recipe.in_chans, recipe.window_padding) == ("mask_rcnn", 1, "mask")
    assert recipe.model_kwargs == {"channels": 16, "masks": False}
    assert recipe.preprocessing() == info.preprocessing


def test_masks_are_left_out_where_the_data_has_boxes_alone_or_the_network_no_masks() -> None:
    whole, faster = (
        describe(BUILDERS["mask_rcnn"]("svt_small", num_classes=2, masks=masks).state_dict(), "theirs.pth")
        for masks in (True, False)
    )
    assert "masks" not in recipe_of_checkpoint(whole, changes={"data": "x"}).model_kwargs  # it is up to the data
    assert recipe_of_checkpoint(faster, changes={"data": "x"}).model_kwargs["masks"] is False
    published = recipe_of_checkpoint(faster, changes={"data": "x"}, published="mask_rcnn_svt_small_1x")
    assert published.model_kwargs == {"masks": False}
    assert published.window_padding == "zero"


def test_names_in_the_file_are_the_evaluations_too(
    tmp_path: Path, masked_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (masked_images / "classes.txt").unlink()
    network = BUILDERS["semantic_fpn"]("svt_small", num_classes=3)
    checkpoint = written_by("dense", network, meta={"CLASSES": ("ground", "grey", "white")})
    info = describe(checkpoint, "theirs.pth")
    recipe = recipe_of_checkpoint(info, changes=CPU | {"data": str(masked_images)})
    monkeypatch.setattr(evaluation, "validate", lambda *_: {"images": 0.0})
    classes: list[tuple[str, ...]] = []
    evaluate_checkpoint(recipe, info, announce=lambda task, metrics: classes.append(task.classes))
    assert classes == [("ground", "grey", "white")]


def test_a_file_is_read_once(tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(BUILDERS["classify"]("svt_small", num_classes=3).state_dict(), tmp_path / "theirs.pth")
    readings = []
    monkeypatch.setattr("twins.checkpoints.info.read_checkpoint", lambda p: readings.append(p) or read_checkpoint(p))
    evaluated_network(tmp_path / "theirs.pth", {"data": str(images)}, monkeypatch)
    assert len(readings) == 1


def test_what_is_missing_gets_one_line(tmp_path: Path) -> None:
    theirs = describe(BUILDERS["classify"]("svt_small", num_classes=3).state_dict(), "theirs.pth")
    with pytest.raises(
        TwinsError, match=r"^theirs\.pth: says nothing of its data; pass --data with a folder of images$"
    ):
        recipe_of_checkpoint(theirs)
    strange = describe({"head.weight": torch.ones(3, 8)}, "strange.pth")
    with pytest.raises(TwinsError, match=r"^strange\.pth: cannot tell which network this is; pass --model$"):
        recipe_of_checkpoint(strange, changes={"data": "x"})
    assert recipe_of_checkpoint(strange, changes={"data": "x", "model": "svt_base"}).model == "svt_base"
    meta = {"create_model": {}, "task": "classify", "recipe": {"task": "classify"}}
    ours = describe({"format": "twins-1", "model": {}, "meta": meta}, "ours.pth")
    assert ours.preprocessing == ClassifyPreprocessing()
    with pytest.raises(TwinsError, match=r"^ours\.pth: knows its own recipe: leave --recipe out$"):
        recipe_of_checkpoint(ours, published="twins_svt_small")
    with pytest.raises(TwinsError, match=r"^ours\.pth: was trained to classify: leave --task detect out$"):
        recipe_of_checkpoint(ours, "detect")


def folders_of(root: Path, *classes: str) -> str:
    """Two images of each class."""
    for name in classes:
        for number in range(2):
            write_image(root / name / f"{number}.png", 40, 40)
    return str(root)


@pytest.fixture
def always_springer(tmp_path: Path) -> str:
    """A checkpoint of others, which says class 217 of 1000 whatever it sees."""
    network = BUILDERS["classify"]("svt_small", num_classes=1000)
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.copy_(torch.arange(1000) == 217)
    torch.save(network.state_dict(), tmp_path / "theirs.pth")
    return str(tmp_path / "theirs.pth")


def flags_of(weights: str, data: str) -> tuple[str, ...]:
    return ("--weights", weights, "--data", data, "--device", "cpu", "--img-size", "32", "--model", "svt_small")


def test_a_subset_of_imagenet_is_met_by_wordnet_ids(
    always_springer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = folders_of(tmp_path / "data", "n15075141", "n02102040", "n01440764")
    (tmp_path / "data" / "n01443537").mkdir()
    flags = flags_of(always_springer, data)
    assert main(["eval", *flags, "--output", str(tmp_path / "runs")]) == 0
    out = capsys.readouterr().out
    assert "1 class folders without images: n01443537" in out
    assert "Acc@1 33.33" in out
    (folder,) = (tmp_path / "runs" / "classify").iterdir()
    table = (folder / "mistakes.csv").read_text().splitlines()
    assert [line.split(",")[1:3] for line in table[1:]] == [["tench", "English springer"]] * 2 + [
        ["toilet tissue", "English springer"]
    ] * 2


def test_a_subset_of_imagenet_is_met_by_readable_names(
    always_springer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = folders_of(tmp_path / "data", "English springer", "crane bird", "crane")
    assert main(["eval", *flags_of(always_springer, data), "--output", str(tmp_path / "runs")]) == 0
    assert "Acc@1 33.33" in capsys.readouterr().out


def test_eval_takes_the_names_of_a_networks_classes(
    always_springer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = folders_of(tmp_path / "data", "springer", "tench")
    flags = flags_of(always_springer, data)
    assert main(["eval", *flags]) == 2
    error = capsys.readouterr().err
    assert "class 'springer' is none of the 1000 that the network knows" in error
    assert "if its classes are not ImageNet's, pass --classes FILE with their names in its order, one a line" in error
    names = tmp_path / "names.txt"
    names.write_text("".join({0: "tench", 217: "springer"}.get(i, f"class {i}") + "\n" for i in range(1000)))
    assert main(["eval", *flags, "--classes", str(names), "--output", str(tmp_path / "runs")]) == 0
    assert "Acc@1 50.00" in capsys.readouterr().out

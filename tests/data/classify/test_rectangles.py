"""Classifiers that see rectangles: in training, in evaluation, on the command line, and in what is stored."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.tiny import TINY, TINY_RUN, make_images
from twins.checkpoints.info import read_info
from twins.cli import main
from twins.data.classify.transforms import covering_size, eval_transform, train_transform
from twins.data.randomness import keyed_randomness
from twins.errors import TwinsError
from twins.predict import load_predictor
from twins.preprocessing import ClassifyPreprocessing
from twins.recipes import ClassifyRecipe, find_recipe
from twins.training.evaluation import evaluate_checkpoint, recipe_of_checkpoint
from twins.training.loop import fit


@pytest.mark.parametrize(
    ("size", "covered", "expected"),
    [
        ((375, 500), (256, 256), (256, 341)),  # as torchvision's short side
        ((500, 375), (256, 256), (341, 256)),
        ((300, 300), (256, 256), (256, 256)),
        ((100, 300), (64, 96), (64, 192)),
        ((300, 100), (64, 96), (288, 96)),
        ((128, 192), (64, 96), (64, 96)),
        ((3, 7), (93, 217), (93, 217)),  # in floats 93 * 7 / 3 may fall below
    ],
)
def test_what_covers_a_rectangle(size: tuple[int, int], covered: tuple[int, int], expected: tuple[int, int]) -> None:
    assert covering_size(size, covered) == expected


def ramp(width: int, height: int) -> Image.Image:
    """Red grows to the right, green downwards."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, np.zeros_like(x)], axis=2).round().astype(np.uint8))


def test_evaluation_crops_the_rectangle_from_the_middle() -> None:
    levels = ClassifyPreprocessing((64, 96), 0.5, mean=(0.0,) * 3, std=(1.0,) * 3)
    view = eval_transform(levels)(ramp(384, 128))  # as it covers 128 x 192
    assert view.shape == (3, 64, 96)
    assert view[0, :, 0].mean() == pytest.approx((384 - 96) / 2 / 384, abs=0.005)
    assert view[0, :, -1].mean() == pytest.approx((384 + 96) / 2 / 384, abs=0.005)
    assert view[1, 0].mean() == pytest.approx(32 / 128, abs=0.01)
    assert view[1, -1].mean() == pytest.approx(96 / 128, abs=0.01)


def test_a_square_may_be_given_by_both_sides() -> None:
    image = ramp(83, 61)
    for one, both in ((48, (48, 48)), (24, (24, 24))):
        views = [eval_transform(ClassifyPreprocessing(size))(image) for size in (one, both)]
        assert torch.equal(*views)
        views = []
        for size in (one, both):
            transform = train_transform(ClassifyRecipe(img_size=size, aa="rand-m9-mstd0.5-inc1", reprob=0.5))
            with keyed_randomness("here", 0):
                views.append(transform(image))
        assert torch.equal(*views)


def test_small_rectangles_are_stretched() -> None:
    levels = ClassifyPreprocessing((16, 32), mean=(0.0,) * 3, std=(1.0,) * 3)
    assert torch.equal(
        eval_transform(levels)(ramp(32, 16)), torch.from_numpy(np.array(ramp(32, 16))).permute(2, 0, 1) / 255
    )
    assert eval_transform(levels)(ramp(50, 90)).shape == (3, 16, 32)


def test_training_crops_have_the_rectangles_shape() -> None:
    """A crop of the whole ratio range (1, 1) shows a circle as a circle."""
    recipe = ClassifyRecipe(
        img_size=(40, 80), ratio=(1.0, 1.0), scale=(0.2, 0.4), color_jitter=None, hflip=0.0, mean=(0.0,) * 3,
        std=(1.0,) * 3,
    )  # fmt: skip
    transform = train_transform(recipe)
    for seed in range(5):
        with keyed_randomness("here", seed):
            view = transform(ramp(300, 300))
        assert view.shape == (3, 40, 80)
        across, down = view[0, :, -1].mean() - view[0, :, 0].mean(), view[1, -1].mean() - view[1, 0].mean()
        assert across / down == pytest.approx(79 / 39, rel=0.04)
    assert train_transform(recipe.replace(img_size=(24, 32)))(ramp(9, 9)).shape == (3, 24, 32)


@pytest.mark.parametrize("decoder", ["pillow", "turbo"])
def test_a_run_with_rectangles_is_evaluated_and_predicts_with_them(tmp_path: Path, decoder: str) -> None:
    if decoder == "turbo":
        pytest.importorskip("simplejpeg")
    root = make_images(tmp_path / "data", {"dark": 20, "light": 200}, train=4, val=2)
    for path in root.rglob("*.png"):
        Image.open(path).save(path.with_suffix(".jpg"))
        path.unlink()
    recipe = ClassifyRecipe(data=str(root), output=str(tmp_path), model_kwargs=TINY, img_size=(32, 64), batch_size=4,
                            decoder=decoder, **TINY_RUN)  # fmt: skip
    folder = fit(recipe).folder
    weights = folder / "checkpoint.pth"
    assert json.loads((folder / "recipe.json").read_text())["recipe"]["img_size"] == [32, 64]
    assert read_info(weights).preprocessing == recipe.preprocessing()
    again = recipe_of_checkpoint(weights, changes={"output": str(tmp_path)})
    assert again.img_size == (32, 64)
    logged = json.loads((folder / "log.txt").read_text().splitlines()[-1])
    metrics = evaluate_checkpoint(again, weights, announce=lambda *_: None)
    assert metrics["loss"] == pytest.approx(logged["val_loss"], rel=1e-3)  # evaluation decodes by itself
    predictor = load_predictor(weights, "cpu")
    assert predictor.transform(Image.new("RGB", (50, 50))).shape == (3, 32, 64)


def test_flags_take_one_side_or_two(images: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert (
        main(["data", "preview", "--data", str(images), "--img-size", "40", "72", "--out", str(tmp_path / "p.png")])
        == 0
    )
    assert main(["data", "check", "--data", str(images), "--img-size", "40", "72", "3"]) == 2
    assert "--img-size takes the side of a square, or height and width of a rectangle, not 40 72 3" in (
        capsys.readouterr().err
    )
    for wrong, message in {
        0: "--img-size must be 1 or more, not 0",
        (64, 0): "--img-size must be 1 or more, not 0",
        (64, 9.5): "--img-size takes a list, each a whole number",
        "64": "--img-size takes a whole number, not '64'",
        (): "--img-size takes the side of a square, or height and width of a rectangle, not none",
    }.items():
        with pytest.raises(TwinsError, match=message):
            ClassifyRecipe(img_size=wrong)
    with pytest.raises(TwinsError, match="img_size must be between 1 and 16384 pixels"):
        ClassifyPreprocessing((64, 65, 66))
    assert find_recipe("digits").img_size == 32

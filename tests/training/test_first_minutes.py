"""What a run says in its first minutes: how large images are, how fast it is, and how long it will take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from twins.data.images import ImageFiles
from twins.progress import per_second, rounded_speed
from twins.recipes import ClassifyRecipe, DetectRecipe, Recipe, SegmentRecipe, find_recipe
from twins.tasks import make_task
from twins.training import step_log
from twins.training.image_size_note import enlargement
from twins.training.loop import fit
from twins.training.running_time import forecast, shorter_run

HOUR = 3600.0
pytestmark = pytest.mark.usefixtures("without_plots")


CLASSIFY, SEGMENT = ClassifyRecipe(img_size=224, epochs=50), SegmentRecipe(img_size=512, epochs=50)
DETECT = DetectRecipe(img_size=800, epochs=12)
OF_CLASSIFY, OF_DETECT = (96 / 224) ** 2, (384 / 800) ** 2  # the area of smaller images


@pytest.mark.parametrize(
    ("recipe", "hours", "flags", "share"),
    [
        (CLASSIFY, 1 / 4, [], 1),
        (CLASSIFY, 1, ["--img-size 96"], OF_CLASSIFY),
        (CLASSIFY, 10, ["--img-size 96", "--epochs 9"], OF_CLASSIFY * 9 / 50),
        (CLASSIFY.replace(img_size=64), 2, ["--epochs 8"], 8 / 50),
        (SEGMENT, 1, ["--img-size 256"], 1 / 4),
        (DETECT, 1, ["--img-size 384"], OF_DETECT),
        (DETECT, 99, ["--img-size 384", "--epochs 5"], OF_DETECT * 5 / 12),
        (find_recipe("mask_rcnn_svt_small_3x", "detect"), 1, ["--epochs 12"], 1 / 3),  # of many sizes, each named
    ],
)
def test_settings_of_a_shorter_run(recipe: Recipe, hours: float, flags: list[str], share: float) -> None:
    found, takes = shorter_run(recipe, hours * HOUR, fresh=True)
    assert found == flags
    assert takes == pytest.approx(share * hours * HOUR)


def test_a_resumed_run_keeps_its_epochs() -> None:
    assert shorter_run(ClassifyRecipe(img_size=64), HOUR, fresh=False) == ([], HOUR)


def test_a_long_run_is_told_how_to_be_a_shorter_one() -> None:
    recipe = ClassifyRecipe(img_size=224, epochs=50, weights="some.pth")
    assert forecast(recipe, 1.0, 1200, fresh=True) == []
    assert forecast(recipe, 9.0, 400, fresh=True) == [
        "at 9 s an update the run takes 1 h 0 min on this CPU, evaluation not counted",
        "  the same command with --img-size 96 takes about 11 min 1 s",
        "  --freeze backbone trains the head alone, without a backward pass through the network",
    ]
    large = recipe.replace(weights=None, model="twins_svt_large")
    assert forecast(large, 9.0, 400, fresh=True)[-1] == "  --model twins_svt_small is a smaller network"


class Images:
    """As far as `enlargement` asks: files of one size."""

    def __init__(self, folder: Path, width: int, height: int) -> None:
        path = folder / "image.png"
        Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(path)
        self.images = ImageFiles([path] * 40)

    def __len__(self) -> int:
        return len(self.images)


@pytest.mark.parametrize(
    ("recipe", "size", "note"),
    [
        (DetectRecipe(), (200, 160), "200 x 160 are enlarged to 800 (--img-size): --img-size 160 takes about 1/25"),
        (ClassifyRecipe(), (90, 100), "90 x 100 are enlarged to 224 (--img-size): --img-size 96 takes about 1/5"),
        (ClassifyRecipe(), (112, 300), None),
        (SegmentRecipe(resize=(2048, 512)), (90, 100), None),
    ],
)
def test_images_that_are_much_enlarged(tmp_path: Path, recipe: Recipe, size: tuple[int, int], note: str | None) -> None:
    said = enlargement(recipe, Images(tmp_path, *size))
    assert said == (note and f"images of about {note} of the time")


def test_images_without_files_are_not_asked_for_their_size() -> None:
    recipe = find_recipe("digits").replace(img_size=320)
    training, _ = make_task(recipe).datasets()
    assert enlargement(recipe, training) is None


@pytest.mark.parametrize(
    ("speed", "shown", "kept"), [(12345.678, "12346", 12346), (9.96, "10.0", 9.96), (0.0416, "0.04", 0.0416)]
)
def test_speeds(speed: float, shown: str, kept: float) -> None:
    assert (per_second(speed), rounded_speed(speed)) == (shown, kept)


def ticking(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Every look at the clock finds it so much later."""
    now = 0.0

    def time() -> float:
        nonlocal now
        now += seconds
        return now

    monkeypatch.setattr(step_log.time, "time", time)


def test_a_slow_run_says_early_how_it_gets_on(
    tiny_recipe: ClassifyRecipe, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each look at the clock takes 20 s, and there are three until the first update is done."""
    ticking(monkeypatch, 20)
    recipe = tiny_recipe.replace(epochs=50, mixup=0.2, patience=1, lr=0.0, warmup_lr=0.0, min_lr=0.0)
    folder = fit(recipe).folder
    lines = capsys.readouterr().out.splitlines()
    assert "the training loss is of augmented and mixed images: expect it above the validation loss" in lines
    assert "first update: 6 images of 32 x 32" in lines
    progress = [line for line in lines if "left of the epoch" in line]
    assert progress[0].startswith("epoch   0  step 1 of 6  loss 1.")
    assert progress[0].endswith("images/s  5 min 0 s left of the epoch")
    assert len(progress) > 2
    assert [line for line in lines if "on this CPU" in line] == [
        "at 1 min 0 s an update the run takes 4 h 59 min on this CPU, evaluation not counted"
    ]
    assert "  the same command with --epochs 5 takes about 29 min 54 s" in lines
    assert set(lines) <= {*(folder / "console.txt").read_text().splitlines()}

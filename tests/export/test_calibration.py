"""Calibration images: the run's own training images, as validation makes them ready, always the same ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from twins.checkpoints.info import read_info
from twins.errors import TwinsError
from twins.export.calibration import as_exported_takes, calibrate_on
from twins.export.shape import Shape
from twins.preprocessing import DetectPreprocessing

ANY = Shape(None, None)


def test_images_are_training_images_in_unit_range(checkpoint: Path) -> None:
    calibration = calibrate_on(read_info(checkpoint), ANY, count=300)
    images = torch.cat(calibration.batches)
    assert images.shape == (36, 3, 32, 32), "all that there are"
    assert calibration.facts == {
        "data": str(checkpoint.parents[3] / "images"), "part": "train", "images": 36, "seed": 0
    }  # fmt: skip
    brightness = (images.mean(dim=(1, 2, 3)) * 255).sort().values
    for of_class, expected in zip(brightness.split(12), (7.5, 127.5, 247.5), strict=True):
        assert float((of_class - expected).abs().max()) < 1


def test_choice_follows_from_the_seed(checkpoint: Path) -> None:
    info = read_info(checkpoint)
    first, again, other = (torch.cat(calibrate_on(info, ANY, count=7, seed=seed).batches) for seed in (0, 0, 1))
    assert len(first) == 7
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_images_fill_the_shape_of_the_export(checkpoint: Path) -> None:
    calibration = calibrate_on(read_info(checkpoint), Shape(4, (48, 40)), count=6)
    assert [tuple(batch.shape) for batch in calibration.batches] == [(4, 3, 48, 40)] * 2
    assert torch.equal(calibration.batches[1][2:], calibration.batches[0][:2]), "the first two come twice"


def test_images_of_detectors_are_floats_of_the_size_that_it_resizes_to() -> None:
    image = torch.full((3, 60, 80), 51, dtype=torch.uint8)
    taken = as_exported_takes(image, DetectPreprocessing(min_size=120, max_size=140))
    assert taken.shape == (3, 105, 140), "the longest side is 140 at most"
    torch.testing.assert_close(taken, torch.full_like(taken, 0.2))


def test_what_cannot_be_calibrated_on_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    info = read_info(checkpoint)
    with pytest.raises(TwinsError, match=r"^--calibration-images must be 1 or more, not 0$"):
        calibrate_on(info, ANY, count=0)
    with pytest.raises(TwinsError, match=str(tmp_path / "nowhere")):
        calibrate_on(info, ANY, data=str(tmp_path / "nowhere"))

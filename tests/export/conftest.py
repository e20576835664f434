"""A run to export."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.tiny import TINY, TINY_RUN, make_images
from twins.recipes import ClassifyRecipe
from twins.training.loop import fit


@pytest.fixture(scope="package")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a run of one epoch on 36 training images of three classes, 32 x 32 pixels each."""
    root = tmp_path_factory.mktemp("calibration")
    data = make_images(root / "images", {"ant": 0, "bee": 120, "cat": 240}, train=12, val=5)
    settings = {**TINY_RUN, "epochs": 1, "model_kwargs": TINY, "img_size": 32, "batch_size": 8}
    fit(ClassifyRecipe(data=str(data), output=str(root / "runs"), **settings))
    return root / "runs/classify/tiny/checkpoint.pth"

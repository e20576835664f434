"""What every test shares: one torch thread in a worker, fixed seeds, deterministic hypothesis, and small data sets."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image

from helpers.tiny import TINY, TINY_RUN, make_images
from twins.native import library
from twins.recipes import ClassifyRecipe, DetectRecipe, SegmentRecipe

if not torch.cuda.is_available():  # kernels run step by step; Triton asks when it is imported, hence here
    os.environ["TRITON_INTERPRET"] = "1"

if "PYTEST_XDIST_WORKER" in os.environ:  # workers that all use every core wait for one another
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # the processes that tests start

settings.register_profile("suite", deadline=None, derandomize=True, database=None, max_examples=20)
settings.load_profile("suite")


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture
def nan_memory() -> Iterator[None]:
    """Fresh memory holds NaN, so that an output which no kernel wrote shows."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True)  # what switches `fill_uninitialized_memory`, true by default, on
    assert torch.empty(1).isnan()
    yield
    torch.use_deterministic_algorithms(before[0], warn_only=before[1])


@pytest.fixture(params=() if library.missing() else library.instruction_sets())
def instruction_set(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each instruction set that the CPU engine has and this CPU runs, while the test runs with it."""
    monkeypatch.setenv(library.ISA_VARIABLE, request.param)
    return str(request.param)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder in ImageNet's layout: 3 classes, 12 training and 5 validation images each, of two sizes."""
    return make_images(tmp_path / "images", {"ant": 0, "bee": 120, "cat": 240}, train=12, val=5)


@pytest.fixture
def tiny_recipe(images: Path, tmp_path: Path) -> ClassifyRecipe:
    """Two epochs of a network of a few thousand parameters on `images`."""
    return ClassifyRecipe(
        model_kwargs=TINY,
        data=str(images),
        output=str(tmp_path / "runs"),
        img_size=32,
        batch_size=6,
        **TINY_RUN,
    )


@pytest.fixture
def masked_images(tmp_path: Path) -> Path:
    """Images of bright squares on dark ground and their masks: 12 for training and 5 for validation, of three sizes."""
    root = tmp_path / "masked"
    rng = np.random.default_rng(0)
    for part, count in (("train", 12), ("val", 5)):
        for kind in ("images", "masks"):
            (root / kind / part).mkdir(parents=True)
        for i in range(count):
            height, width = ((40, 48), (48, 40), (33, 57))[i % 3]
            mask = np.zeros((height, width), dtype=np.uint8)
            for label in (1, 2):
                top, left = rng.integers(0, height - 16), rng.integers(0, width - 16)
                mask[top : top + 16, left : left + 16] = label
            mask[:2] = 255
            pixels = np.array([20, 120, 220, *[0] * 253])[mask][..., None] + rng.integers(0, 16, (height, width, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(root / "images" / part / f"{i:02d}.png")
            Image.fromarray(mask).save(root / "masks" / part / f"{i:02d}.png")
    (root / "classes.txt").write_text("ground\ngrey\nwhite\n")
    return root


@pytest.fixture
def tiny_segment_recipe(masked_images: Path, tmp_path: Path) -> SegmentRecipe:
    """Two epochs of a small UPerNet on `masked_images`."""
    return SegmentRecipe(
        model_kwargs=TINY,
        head_channels=16,
        data=str(masked_images),
        output=str(tmp_path / "runs"),
        img_size=32,
        batch_size=4,
        **TINY_RUN,
    )


@pytest.fixture
def boxed_images(tmp_path: Path) -> Path:
    """Images of squares in COCO's layout: 12 for training and 6 for validation, of three sizes, one in six without any.

    Two classes, whose COCO ids are neither 0 and 1 nor in the order of their names; a crowd in one image.
    """
    root = tmp_path / "boxed"
    rng = np.random.default_rng(0)
    for part, count in (("train", 12), ("val", 6)):
        (root / part).mkdir(parents=True)
        images, annotations = [], []
        for i in range(count):
            height, width = ((48, 56), (56, 48), (41, 65))[i % 3]
            pixels = rng.integers(0, 32, (height, width, 3))
            images.append({"id": 1000 - i, "file_name": f"{i:02d}.png", "height": height, "width": width})
            for k in range(2 if i % 6 else 0):
                side = int(rng.integers(14, 22))
                x, y = int(rng.integers(0, width - side)), int(rng.integers(0, height - side))
                pixels[y : y + side, x : x + side] = (110, 230)[k]
                corners = [x, y, x + side, y, x + side, y + side, x, y + side]
                annotations.append(
                    {"id": len(annotations) + 1, "image_id": 1000 - i, "category_id": (40, 7)[k], "iscrowd": 0,
                     "bbox": [x, y, side, side], "area": side * side, "segmentation": [corners]}
                )  # fmt: skip
            Image.fromarray(pixels.astype(np.uint8)).save(root / part / f"{i:02d}.png")
        crowd = {"size": [images[1]["height"], images[1]["width"]], "counts": [0, 400, 56 * 48 - 400]}
        annotations.append({"id": 500, "image_id": 999, "category_id": 40, "iscrowd": 1, "bbox": [0, 0, 8, 56],
                            "area": 400, "segmentation": crowd})  # fmt: skip
        (root / "annotations").mkdir(exist_ok=True)
        categories = [{"id": 40, "name": "grey"}, {"id": 7, "name": "white"}]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / "annotations" / f"instances_{part}.json").write_text(json.dumps(content))
    return root


@pytest.fixture
def tiny_detect_recipe(boxed_images: Path, tmp_path: Path) -> DetectRecipe:
    """Two epochs of a small Mask R-CNN on `boxed_images`."""
    return DetectRecipe(
        model_kwargs={**TINY, "channels": 16, "box_channels": 32, "proposals": 40, "box_samples": 32},
        data=str(boxed_images),
        output=str(tmp_path / "runs"),
        img_size=48,
        batch_size=4,
        **TINY_RUN,
    )

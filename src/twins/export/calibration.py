"""The training images that quantisation measures the ranges of activations on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checkpoints.info import CheckpointInfo
from ..data.loading import ImageDataset
from ..data.randomness import seed_of
from ..errors import TwinsError
from ..preprocessing import DetectPreprocessing, Preprocessing, fitted_size
from ..runtimes.modules import resized
from ..tasks import make_task
from ..training.evaluation import recipe_of_checkpoint
from .shape import Shape

IMAGES = 300  # enough for the ranges of 8 bits; more take longer and move them little


class Calibration(NamedTuple):
    """Images to calibrate on, and which they are."""

    batches: list[Tensor]  # (B, C, H, W) float32 in [0, 1] each, as the exported network takes them
    facts: dict[str, Any]  # for its description: data, part, images, seed


def calibrate_on(
    info: CheckpointInfo, shape: Shape, count: int = IMAGES, data: str | None = None, seed: int = 0
) -> Calibration:
    """Up to `count` training images, chosen by `seed`, made ready as validation images are.

    They are those of the run that left the checkpoint, or of `data`. The file's description tells data, number and
    seed, by which the choice can be repeated. An export of a fixed size gets them stretched to it.

    Raises TwinsError where there are no training images, or none that can be read.
    """
    if count < 1:
        raise TwinsError(f"--calibration-images must be 1 or more, not {count}")
    changes: dict[str, Any] = {"device": "cpu", "workers": 0} | ({"data": data} if data else {})
    recipe = recipe_of_checkpoint(info, changes=changes)
    task = make_task(recipe, info.classes if info.classes_named else ())
    training, validation = task.datasets()
    if training is None:
        raise TwinsError(f"{recipe.data}: has no training images to calibrate int8 on; pass --data with a train folder")
    training.transform = validation.transform  # as they are, not augmented
    ready = info.preprocessing
    assert ready is not None
    images = [as_exported_takes(image, ready) for image in _chosen(training, count, seed)]
    if not images:
        raise TwinsError(f"{recipe.data}: none of the training images that were chosen to calibrate on can be read")
    facts = {"data": recipe.data, "part": "train", "images": len(images), "seed": seed}
    return Calibration(list(_batches(images, shape)), facts)


def _chosen(training: ImageDataset, count: int, seed: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(seed_of("calibration", seed))
    for index in torch.randperm(len(training), generator=generator)[:count].tolist():
        image = training.at(index).image
        if image is not None:  # unreadable
            yield image


def as_exported_takes(image: Tensor, ready: Preprocessing) -> Tensor:
    """(C, H, W) as the transform leaves it -> float32 in [0, 1], for a detector resized as it does itself.

    Detectors' images are bytes of the file's own size.
    """
    if not isinstance(ready, DetectPreprocessing):
        return ready.denormalise(image)
    height, width = image.shape[1:]
    return resized(ready.to_float(image)[None], fitted_size((height, width), (ready.max_size, ready.min_size)))[0]


def _batches(images: list[Tensor], shape: Shape) -> Iterator[Tensor]:
    """One image each, or as many as the network takes; of a last batch that is not full images come twice."""
    at_once = shape.batch or 1
    size = shape.size if at_once == 1 else shape.size or images[0].shape[-2:]
    if size is not None:
        images = [F.interpolate(image[None], size, mode="bilinear")[0] for image in images]
    for start in range(0, len(images), at_once):
        yield torch.stack([images[(start + i) % len(images)] for i in range(at_once)])

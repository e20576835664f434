"""The networks of a server, each by its name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ..checkpoints.info import CheckpointInfo
from ..data.classify.transforms import seen_part
from ..data.images import MODES
from ..distributed.world import choose_device
from ..errors import TwinsError
from ..heads.base import DenseModel
from ..native.frozen import Frozen
from ..networks import info_of, run_selection, task_of
from ..predict import Predictor, load_predictor
from ..predict.predictors import DetectPredictor
from ..preprocessing import ClassifyPreprocessing, Size
from ..recipes.base import MAX_MEGAPIXELS
from ..runtimes.exported_info import ExportedInfo
from .settings import ServeSettings

NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
LEAST_SCORE = 0.05  # of objects: what clients ask for lies above, and a threshold can be moved without another request
MOST_MASKED = 25.0  # megapixels of an image whose objects have masks, up to a hundred of its own size


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A network that is served.

    Attributes
    ----------
    name, task:
        Of the network; clients choose by the name.
    weights:
        The file.
    predictor:
        Made by `load_predictor`.
    computed_by:
        In words, such as "engine fp32, CPU".
    in_pytorch:
        Whether PyTorch computes the network itself, so that one can look into it.
    least_score:
        That objects of a detector have, whatever a request asks for.
    """

    name: str
    task: str
    weights: str
    predictor: Predictor[Any]
    computed_by: str
    in_pytorch: bool
    least_score: float

    @property
    def can_attend(self) -> bool:
        """Whether one can look into the network: an exported file hides it."""
        return not isinstance(self.predictor.info, ExportedInfo)

    @property
    def max_megapixels(self) -> float:
        """Of an image that is read."""
        limit = self.predictor.reading.max_megapixels
        assert limit is not None
        return limit

    def largest(self, size: Size) -> int:
        """Pixels of an image of this size as it is read, or as a classifier's preprocessing enlarges it."""
        preprocessing = self.predictor.info.preprocessing
        resized = seen_part(preprocessing, size)[0] if isinstance(preprocessing, ClassifyPreprocessing) else size
        return max(size[0] * size[1], resized[0] * resized[1])

    def described(self, default: bool) -> dict[str, Any]:
        """As `GET /models` has it."""
        of_detectors = {}
        if isinstance(self.predictor, DetectPredictor):
            of_detectors = {"least_score": self.least_score, "category_ids": self.predictor.category_ids}
        return {
            "name": self.name,
            "task": self.task,
            "network": self.predictor.info.model,
            "classes": list(self.predictor.classes),
            "can_attend": self.can_attend,
            "computed_by": self.computed_by,
            "default": default,
            **of_detectors,
        }


def open_models(settings: ServeSettings) -> list[ServedModel]:
    """Every network of the settings, opened and tried with a grey image, which makes its first request no slower.

    Raises TwinsError for files, names, devices and dtypes that cannot be used.
    """
    models: list[ServedModel] = []
    for name, weights in map(name_and_file, settings.weights):
        model = _opened(weights, settings)
        taken = [other.name for other in models]
        if name in taken:
            raise TwinsError(f"{name}={weights}: there is a model of that name already; choose another")
        models.append(replace(model, name=name or _free(model.name, taken)))
    if settings.decoder == "turbo" and not any(model.task == "classify" for model in models):
        raise TwinsError("--decoder turbo is for classifiers, of which there is none; leave it out")
    for model in models:
        model.predictor(Image.new(MODES[model.predictor.channels], (224, 224), 128))
    return models


def name_and_file(weights: str) -> tuple[str | None, str]:
    """(name, file) of NAME=FILE or FILE. Raises TwinsError for a name that no address could have."""
    name, equals, file = weights.partition("=")
    if not equals or Path(weights).exists():
        return None, weights
    if not NAME.fullmatch(name):
        raise TwinsError(f"{weights}: a model's name has up to 64 letters, digits, dots, dashes and underscores")
    return name, file


def _free(name: str, taken: Sequence[str]) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]", "-", name)[:60] or "model"
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    return free


def _opened(weights: str, settings: ServeSettings) -> ServedModel:
    info = info_of(weights)
    task = task_of(info)
    conf = _least_score(info) if task == "detect" else 0.0
    thresholds: dict[str, Any] = {"conf": conf} if task == "detect" else {}
    dtype = _dtype(info, settings)
    predictor = load_predictor(info, settings.device, settings.ema, dtype=dtype, **thresholds)
    predictor.reading = replace(predictor.reading, max_megapixels=_max_megapixels(predictor, settings))
    if task == "classify":  # only these decode a part
        predictor.use_decoder(settings.decoder)
    in_pytorch = dtype is None and not isinstance(info, ExportedInfo)
    return ServedModel(predictor.name, task, weights, predictor, _computed_by(predictor), in_pytorch, conf)


def _dtype(info: CheckpointInfo, settings: ServeSettings) -> str | None:
    """The engine's on a CPU, unless an exported file brings its own runtime."""
    if settings.dtype is not None or isinstance(info, ExportedInfo):
        return settings.dtype
    return "fp32" if choose_device(settings.device).type == "cpu" else None


def _least_score(info: CheckpointInfo) -> float:
    """An exported detector has lost what scores less than its run asked for."""
    return max(LEAST_SCORE, run_selection(info).score_thresh) if isinstance(info, ExportedInfo) else LEAST_SCORE


def _max_megapixels(predictor: Predictor[Any], settings: ServeSettings) -> float:
    """There is always a limit, as there is always somebody who sends a larger image."""
    if settings.max_megapixels is not None:
        return settings.max_megapixels
    of_its_run = predictor.reading.max_megapixels or MAX_MEGAPIXELS
    masks = isinstance(predictor, DetectPredictor) and predictor.has_masks
    return min(of_its_run, MOST_MASKED) if masks else of_its_run


def _computed_by(predictor: Predictor[Any]) -> str:
    if isinstance(predictor.info, ExportedInfo):
        return predictor.info.network.runtime
    device = "CPU" if predictor.device.type == "cpu" else _device_name(predictor.device)
    model = predictor.model.backbone if isinstance(predictor.model, DenseModel) else predictor.model
    return f"engine {model.dtype}, {device}" if isinstance(model, Frozen) else f"PyTorch, {device}"


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)

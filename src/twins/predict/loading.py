"""Predictors by the file of their network: `twins.load`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..checkpoints.info import CheckpointInfo
from ..data.images import ImageReading
from ..errors import TwinsError, nearest
from ..networks import info_of, task_of
from ..recipes import NETWORK_OF_TASK, TASKS, Recipe, fields_of, recipe_class
from ..zoo import model_name
from .computed import Computed
from .embedding import EmbedPredictor
from .predictors import ClassifyPredictor, DetectPredictor, Predictor, SegmentPredictor

_PREDICTORS: dict[str, Callable[..., Predictor[Any]]] = {
    "classify": ClassifyPredictor,
    "segment": SegmentPredictor,
    "detect": DetectPredictor,
}
# What `twins predict` takes of the recipes of all tasks, and beside `topk` of one; no two of these have the same name.
_READING = tuple(field.name for field in fields_of(Recipe, "predict"))
_TASK_OF_FIELD = {field.name: task for task in TASKS for field in fields_of(recipe_class(task), "predict")}
_TASK_OF_SETTING = {"topk": "classify"} | {name: task for name, task in _TASK_OF_FIELD.items() if name not in _READING}


def load_predictor(
    weights: str | os.PathLike[str] | CheckpointInfo,
    device: str = "auto",
    ema: bool | None = None,
    model: str | None = None,
    classes: Sequence[str] | None = None,
    dtype: str | None = None,
    **settings: Any,
) -> Predictor[Any]:
    """The network of a checkpoint of any dialect, or an exported one, made a `Predictor`, which says how it is called.

    `twins.load` is this function.

    Parameters
    ----------
    weights:
        A checkpoint file, or what `read_info` made of one, or a file that `twins export` wrote. Published weights and
        others that say nothing of themselves are known by their names and shapes, and see images as the published
        networks do.
    device:
        "auto" (the best there is; of an exported file the CPU), "cuda", "cuda:N", "mps" or "cpu".
    ema:
        Take the moving average that the file keeps, or leave it; by default it is taken where there is one.
    model:
        Which network it is, by name or alias, where the weights do not say.
    classes:
        One name for each class, in place of those that the file names, or of numbers.
    dtype:
        "fp32", "bf16" or "int8": the CPU engine computes the network, or a segmenter's or detector's backbone, as
        `freeze` says; "auto" is the CPU then. By default PyTorch computes. An exported file takes none.
    settings:
        They mean what the flags of `twins predict` do. Of a classifier, `topk`: how many classes a prediction names
        (5). Of a segmenter, `slide` and `slide_stride`: predict by overlapping squares of this side, and the pixels
        between two of them (as in its run; else the whole image, and two thirds of the side). Of a detector, `conf`:
        least score, in [0, 1] (0.3); `iou`: of two boxes of a class that overlap more, in [0, 1], the better one stays
        (as in its run, or 0.5); `max_det`: most objects an image (as in its run, or 100). Of all, how files are read:
        `bit_depth`, the bits used by grey images that have more than 8 (as in its run, or 16), and `max_megapixels`,
        beyond which an image is refused (as in its run, or 179; None: no limit).

    Returns
    -------
    A predictor that returns `Classified`, `Segmented` or `Detected`, by the network's task.

    Raises TwinsError for weights, a device, a dtype or settings that cannot be used.
    """
    computed = Computed.by(device, dtype)
    info = _info(weights, model).with_classes(classes)
    task = task_of(info)
    reading = _reading(info, {name: settings.pop(name) for name in _READING if name in settings})
    for name in settings:
        if name not in _TASK_OF_SETTING:
            raise TwinsError(f"no setting {name!r} of predictors{nearest(name, [*_TASK_OF_SETTING, *_READING])}")
        if _TASK_OF_SETTING[name] != task:
            flag = "--" + name.replace("_", "-")
            meant_for, kind = NETWORK_OF_TASK[_TASK_OF_SETTING[name]], NETWORK_OF_TASK[task]
            raise TwinsError(f"{flag} is for {meant_for}s; {info.source} is a {kind}")
    predictor = _PREDICTORS[task](info, computed.for_network(info, device), ema, **settings)
    predictor.reading = reading
    return predictor


load = load_predictor  # as `twins.load`


def load_embedder(
    weights: str | os.PathLike[str] | CheckpointInfo,
    device: str = "auto",
    ema: bool | None = None,
    model: str | None = None,
    dtype: str | None = None,
    **reading: Any,
) -> EmbedPredictor:
    """The same network without its heads: called with images it returns `Embedded`, their features.

    The arguments mean what they do in `load_predictor`; `reading` is `bit_depth` and `max_megapixels`. Raises
    TwinsError as that does, for an exported file, and for settings of the heads.
    """
    for name in reading:
        if name not in _READING:
            raise TwinsError(f"--{name.replace('_', '-')} is for what the heads predict, of which --embed has nothing")
    computed, info = Computed.by(device, dtype), _info(weights, model)
    embedder = EmbedPredictor(info, computed.for_network(info, device), ema)
    embedder.reading = _reading(info, reading)
    return embedder


def _info(weights: str | os.PathLike[str] | CheckpointInfo, model: str | None) -> CheckpointInfo:
    """What the weights are; `model` is which network where they do not say. Raises TwinsError without a task."""
    info = info_of(weights).with_model(None if model is None else model_name(model))
    task_of(info)
    return info


def _reading(info: CheckpointInfo, given: Mapping[str, Any]) -> ImageReading:
    """How the checkpoint's run read its images, but for what is given."""
    of_its_run = {name: value for name, value in (info.recipe or {}).items() if name in _READING}
    settings = {**of_its_run, **given}
    for name, value in settings.items():
        Recipe.check_field(name, value)
    return ImageReading(**settings)

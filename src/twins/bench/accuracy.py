"""What each precision costs in accuracy: top-1 and logits of a trained classifier, beside plain PyTorch.

All backends run the same checkpoint on the same validation images, one by one; int8 of ONNX Runtime and OpenVINO is
calibrated on training images.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..checkpoints.info import CheckpointInfo, read_info
from ..checkpoints.load import load_whole
from ..data.loading import make_loader
from ..data.sampling import EvaluationSampler, evenly
from ..errors import TwinsError
from ..progress import Progress
from ..recipes import ClassifyRecipe, find_recipe
from ..tasks import make_task
from ..training.evaluation import recipe_of_checkpoint
from ..training.loop import fit
from .backends import frozen, infer
from .parity import relative_rms
from .plan import DIGITS, Backend, Case
from .runners import Loaded, Outputs
from .runtimes import RUNTIMES, load_runtime, model_file

CALIBRATION = 128  # training images
EPOCHS = 10  # of a run of the digits that is trained for want of one: 98 % or so
RUNS = "runs"


class Trained(NamedTuple):
    """A classifier with images (1, C, H, W) to judge it by."""

    model: nn.Module
    calibration: list[Tensor]  # from the training split
    images: list[Tensor]  # the validation split
    labels: Tensor
    reference: Tensor  # logits (N, classes) of the model itself, in float32


class Accuracy(NamedTuple):
    """Metrics of a backend on the validation images."""

    top1: float  # %
    error: float  # relative root mean square of the logits' difference from the reference
    executed: str  # as of Loaded


def accuracy_case(weights: Path | None, backends: Sequence[Backend]) -> Case:
    """The case of a checkpoint, or of the digits. Raises TwinsError if it is no classifier's."""
    size = (_recipe_of(read_info(weights)) if weights else _digits_recipe()).size
    return Case("accuracy", str(weights or DIGITS), size, 1, tuple(backends))


def digits_weights(log: Callable[[str], None]) -> Path:
    """The best checkpoint of the newest finished run of the digits below runs/; a short run is trained for want of one.

    Raises TwinsError for what stops a run from training.
    """
    finished = [file.parent for file in Path(RUNS, "classify").glob("*/summary.json") if _learnt_digits(file.parent)]
    if finished:
        return max(finished, key=lambda run: (run / "summary.json").stat().st_mtime) / "checkpoint_best.pth"
    log(f"no finished run of the digits below {RUNS}/: training one of {EPOCHS} epochs")
    recipe = _digits_recipe().replace(epochs=EPOCHS, output=RUNS, device="cpu", workers=0)
    with redirect_stdout(sys.stderr):  # so that --json prints JSON alone
        outcome = fit(recipe)
    if not outcome.finished:
        raise TwinsError(f"{outcome.folder}: stopped before its end; go on with twins train --resume")
    return outcome.folder / "checkpoint_best.pth"


def _digits_recipe() -> ClassifyRecipe:
    recipe = find_recipe(DIGITS, "classify")
    assert isinstance(recipe, ClassifyRecipe)
    return recipe


def _learnt_digits(run: Path) -> bool:
    recipe = json.loads((run / "recipe.json").read_text(encoding="utf-8"))["recipe"]
    return bool(recipe["data"] == "digits") and (run / "checkpoint_best.pth").exists()


def load_trained(weights: Path) -> Trained:
    """The classifier of a checkpoint and the images of its own data. Raises TwinsError if it is no classifier."""
    info = read_info(weights)
    recipe = _recipe_of(info)
    task = make_task(recipe, info.classes if info.classes_named else ())
    training, validation = task.datasets()
    if training is None:
        raise TwinsError(f"--accuracy {weights}: {recipe.data} has no training images to calibrate on")
    training.transform = validation.transform  # as they are, not augmented
    model = task.build()
    load_whole(model, info)
    model.eval()
    calibration = [training.at(index).image[None] for index in evenly(len(training), CALIBRATION)]
    batches = list(make_loader(validation, EvaluationSampler(len(validation), 0, 1), 1, 0, torch.device("cpu")))
    images, labels = [batch.images for batch in batches], torch.cat([batch.labels for batch in batches])
    return Trained(model, calibration, images, labels, _logits(partial(infer, model), images, "reference"))


def _recipe_of(info: CheckpointInfo) -> ClassifyRecipe:
    if info.task != "classify" or info.recipe is None:
        raise TwinsError(f"--accuracy {info.source}: not a checkpoint of a classifier that `twins train` left")
    recipe = recipe_of_checkpoint(info, changes={"device": "cpu", "workers": 0})
    assert isinstance(recipe, ClassifyRecipe)
    return recipe


def measure_accuracy(backend: Backend, trained: Trained, folder: Path) -> Accuracy:
    """Run a backend on all validation images; `folder` keeps what is exported. Raises what its library raises."""
    loaded = _load(backend, trained, folder)
    logits = _logits(loaded.call, trained.images, backend.title)
    top1 = 100 * float((logits.argmax(dim=1) == trained.labels).float().mean())
    return Accuracy(top1, relative_rms(logits, trained.reference), loaded.executed)


def _load(backend: Backend, trained: Trained, folder: Path) -> Loaded:
    if backend.engine in RUNTIMES:
        image, calibration = trained.images[0], trained.calibration
        return load_runtime(backend, model_file(backend, lambda: trained.model, image, lambda: calibration, folder))
    model = trained.model
    if backend.engine == "frozen":
        model = frozen(copy.deepcopy(model), backend.dtype)
    return Loaded(partial(infer, model), backend.dtype)


def _logits(call: Callable[[Tensor], Outputs], images: list[Tensor], title: str) -> Tensor:
    return torch.cat([call(image)[0].clone() for image in Progress(title, len(images)).over(images)])

"""The images that an exported file is judged on, and the metrics of a network on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from ..checkpoints.info import CheckpointInfo
from ..data.sampling import evenly
from ..errors import TwinsError
from ..tasks import Task
from ..training.evaluation import evaluate_checkpoint, recipe_of_checkpoint

EMBEDDED = "digits"  # in place of a folder: the sample data that the package holds
SYNTHETIC = "synthetic"  # in place of a folder: noise, on which there are outputs but no metric


class Measured(NamedTuple):
    """The metric of a network on validation images, and where they are."""

    title: str  # "Acc@1", "mIoU" or "AP"
    value: float  # per cent
    digits: int
    images: int  # that were measured
    of: int  # that there are
    data: str
    task: Task


def check_there_is_data(info: CheckpointInfo, data: str | None) -> None:
    """Raises TwinsError where neither the weights nor the user say which images to judge by, and for a missing folder.

    What else is wrong with a folder shows when it is read, after minutes of exporting.
    """
    if data is None and info.recipe is None:
        raise TwinsError(
            f"{info.source}: says nothing of its data, and an exported file is judged on images: pass --data with a "
            f"folder of them, or --data {SYNTHETIC} to compare outputs on noise alone"
        )
    if data not in (None, SYNTHETIC, EMBEDDED) and not Path(data).exists():
        raise TwinsError(f"--data {data} is not there: it takes a folder of images, {EMBEDDED} or {SYNTHETIC}")


def measured(info: CheckpointInfo, data: str | None, images: int, ema: bool | None = None, **changes: Any) -> Measured:
    """The metric of a network, by its checkpoint or as an exported one, on up to so many validation images.

    `ema` as of `open_network`; `changes` are fields of its recipe. Raises TwinsError for data that cannot be used.
    """
    said: list[Measured] = []
    given = {} if data is None else {"data": data}
    recipe = recipe_of_checkpoint(info, changes=given | {"device": "cpu", "workers": 0} | changes)

    def keep(task: Task, metrics: dict[str, float]) -> None:
        title, digits = next((title, digits) for name, title, digits in task.columns if name == task.best_metric)
        count, of = int(metrics["images"]), len(task.val)
        said.append(Measured(title, metrics[task.best_metric], digits, count, of, recipe.data, task))

    evaluate_checkpoint(recipe, info, ema, announce=keep, images=images)
    return said[0]


def images_of(task: Task, wanted: int) -> list[Tensor]:
    """Up to so many validation images, evenly spaced, as the task's network takes one: (C, H, W) floats in [0, 1]."""
    samples = (task.val.at(index).image for index in evenly(len(task.val), wanted))
    images = [views[0] if isinstance(views, tuple | list) else views for views in samples if views is not None]
    return [image if image.is_floating_point() else image / 255 for image in images]

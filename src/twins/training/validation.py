"""The metrics of a network over the validation images."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import nn

from ..data.loading import Batch, ImageDataset, UnreadableImages, make_loader
from ..data.sampling import EvaluationSampler
from ..data.waiting import end_workers, patiently
from ..distributed.activity import this_process
from ..distributed.world import World
from ..errors import TwinsError
from ..progress import Progress
from ..recipes import Recipe
from ..recipes.durations import seconds_of
from ..tasks import Task
from .mixed_precision import autocast


@torch.inference_mode()
def validate(
    task: Task,
    model: nn.Module,
    val: ImageDataset,
    recipe: Recipe,
    world: World,
    unreadable: UnreadableImages,
    images: int | None = None,
    between_batches: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """The task's metrics over the validation images, or so many of them, each seen exactly once over all ranks.

    Raises TwinsError where none of them can be read, and StalledError where they are not read in time.
    """
    sampler = EvaluationSampler(len(val), world.rank, world.size, images)
    loader = make_loader(val, sampler, recipe.evaluation_batch, recipe.workers, world.device)
    progress = Progress("evaluating", len(loader), world.is_main)

    def batches() -> Iterator[Batch]:
        read = patiently(loader, seconds_of(recipe.read_timeout), f"{recipe.data}: validation images")
        for batch in progress.over(this_process.waiting_for_data(read)):
            between_batches()
            unreadable.note(batch)
            yield batch.to(world.device)

    model.eval()
    try:
        with this_process.doing("evaluating"), autocast(recipe, world.device):
            metrics = dict(task.evaluate(model, batches()))
    finally:
        end_workers(loader)
    if not metrics["images"]:
        raise TwinsError(f"{recipe.data}: none of the validation images can be read")
    return metrics

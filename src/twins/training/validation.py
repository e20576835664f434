"""The metrics of a network over the validation images."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from ..data.loading import Batch, ImageDataset, UnreadableImages, make_loader
from ..data.sampling import EvaluationSampler
from ..distributed.world import World
from ..errors import TwinsError
from ..progress import Progress
from ..recipes import Recipe
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
) -> dict[str, float]:
    """The task's metrics over the validation images, or so many of them, each seen exactly once over all ranks.

    Raises TwinsError where none of them can be read.
    """
    sampler = EvaluationSampler(len(val), world.rank, world.size, images)
    loader = make_loader(val, sampler, recipe.evaluation_batch, recipe.workers, world.device)
    progress = Progress("evaluating", len(loader), world.is_main)

    def batches() -> Iterator[Batch]:
        for batch in progress.over(loader):
            unreadable.note(batch)
            yield batch.to(world.device)

    model.eval()
    with autocast(recipe, world.device):
        metrics = dict(task.evaluate(model, batches()))
    if not metrics["images"]:
        raise TwinsError(f"{recipe.data}: none of the validation images can be read")
    return metrics

"""What is learnt: one module a task. The training loop asks the same of each; see `Task`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from ..data.loading import Batch, ImageDataset
from ..data.statistics import DatasetStatistics
from ..recipes import ClassifyRecipe, DetectRecipe, Recipe, SegmentRecipe


class Task(Protocol):
    """A recipe made into data, network, losses, metrics and images."""

    classes: tuple[str, ...]
    best_metric: str  # the one of `evaluate` that decides which epoch is best; more is better
    columns: tuple[tuple[str, str, int], ...]  # metrics as a line shows them: name, title, digits; after `datasets`
    plots: tuple[str, ...]  # what `draw` and `draw_batch` leave in the run's folder
    notes: list[str]  # what is to be said about the data before anything else happens

    def datasets(self, evaluation_only: bool = False) -> tuple[ImageDataset | None, ImageDataset]:
        """(training, validation); called first, since the other answers depend on the classes found there."""

    def build(self) -> Any:
        """The network, fresh or with the recipe's weights."""

    def mix(self, batch: Batch, *key: int) -> Batch:
        """What is done to a whole training batch on the device; its randomness follows from the key."""

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Named losses of a batch; the loop adds them up."""

    def evaluate(self, model: nn.Module, batches: Iterable[Batch]) -> Iterator[tuple[str, float]]:
        """Named metrics, over all ranks: `best_metric`, those in `columns`, and `images`, how many were counted."""

    def dataset_statistics(self) -> DatasetStatistics:
        """The outcome of a check of all the data; raises TwinsError only for what is no data set at all."""

    def draw_samples(self, path: Path) -> None:
        """An image of samples with their annotations; after `datasets`."""

    def draw_batch(self, batch: Batch, folder: Path) -> None:
        """An image of a training batch."""

    def draw(self, folder: Path) -> None:
        """Images and tables of the last evaluation."""

    def meta(self) -> dict[str, Any]:
        """What a checkpoint tells of itself, so that prediction needs nothing else."""


def make_task(recipe: Recipe, classes: tuple[str, ...] = ()) -> Task:
    """The task that a recipe is for; `classes` if a network's are known, else those of the data."""
    if isinstance(recipe, SegmentRecipe):
        from .segment import Segmentation

        return Segmentation(recipe, classes)
    if isinstance(recipe, DetectRecipe):
        from .detect import Detection

        return Detection(recipe, classes)
    from .classify import Classification

    assert isinstance(recipe, ClassifyRecipe)
    return Classification(recipe, classes)

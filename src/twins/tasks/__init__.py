"""What is learnt: one module a task. Training and evaluation ask the same of each; see `Task`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from ..data.check_results import DatasetStatistics
from ..data.loading import Batch, ImageDataset
from ..recipes import ClassifyRecipe, DetectRecipe, Recipe, SegmentRecipe


class Task(Protocol):
    """A recipe made into data, network, losses, metrics and plots."""

    classes: tuple[str, ...]
    best_metric: str  # the one of `evaluate` that decides which epoch is best; more is better
    columns: tuple[tuple[str, str, int], ...]  # metrics on the console: name, title, digits; after `datasets`
    plots: tuple[str, ...]  # files that `draw` and `draw_batch` leave in the run's folder
    notes: list[str]  # about the data, to be shown before anything else happens; after `datasets`
    val: ImageDataset  # the images that are measured; after `datasets`
    part: str  # of the data that is measured: "train", "val", "test", or "" for all; after `datasets`

    def datasets(self, evaluation_only: bool = False) -> tuple[ImageDataset | None, ImageDataset]:
        """(training, validation); called first, since everything else depends on the classes found there.

        For an evaluation only, the second are those of the recipe's `part`, and there may be no training images. Raises
        TwinsError for data that cannot be used.
        """

    def build(self) -> Any:
        """The network, fresh or with the recipe's weights. Raises TwinsError for weights that do not fit."""

    def mix(self, batch: Batch, *key: int) -> Batch:
        """A training batch after what is done to it as a whole, on the device; its randomness follows from the key."""

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Named losses of a batch, scalars; the loop adds them up."""

    def evaluate(self, model: nn.Module, batches: Iterable[Batch]) -> Iterator[tuple[str, float]]:
        """Named metrics over all ranks, among them `best_metric`, `columns`, and `images`, how many were counted."""

    def dataset_statistics(self) -> DatasetStatistics:
        """The outcome of a check of all the data. Raises TwinsError only for what is no data set at all."""

    def draw_samples(self, path: Path) -> None:
        """Plot samples with their annotations."""

    def draw_batch(self, batch: Batch, folder: Path) -> None:
        """Plot a training batch."""

    def draw(self, folder: Path) -> None:
        """Write plots and tables of the last evaluation."""

    def findings(self) -> list[str]:
        """What there is to tell of the last evaluation beyond its metrics, a line each."""

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

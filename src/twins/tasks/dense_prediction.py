"""What segmentation and detection share: the parts of the data, the loop over validation images, tables and plots."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.transforms.functional import pil_to_tensor

from ..data.boxes.dataset import BoxedImages
from ..data.check_results import TRAINING, VALIDATION, CheckedPart, part_warnings, raise_first_error
from ..data.folders import images_in_words
from ..data.loading import Batch, ImageDataset
from ..data.masks.dataset import MaskedImages
from ..data.sampling import evenly
from ..distributed.collectives import all_gather_object
from ..metrics.detection import DetectionMetrics
from ..metrics.per_class_table import write_per_class
from ..metrics.segmentation import SegmentationMetrics
from ..plots.class_bars import draw_class_bars
from ..recipes import DetectRecipe, SegmentRecipe, Split
from ..zoo import model_name

SHOWN = 8  # images in a plot; of the validation images always the same ones

Images = TypeVar("Images", MaskedImages, BoxedImages)
Prediction = TypeVar("Prediction")  # of one image: a mask of classes, or the objects in it
Row = TypeVar("Row")  # of a plot: an image with its annotation, and perhaps with the prediction beside it


class DensePrediction(ABC, Generic[Images, Prediction, Row]):
    """A recipe made into data, network, losses and metrics; `Task` says what the public methods are for."""

    best_metric: str
    columns: tuple[tuple[str, str, int], ...]
    plots: tuple[str, ...]  # of predictions, of `class_metric`, of a training batch
    predictions_headline: str
    class_metric: str  # the column of `class_columns` whose mean `best_metric` is
    class_colours: Callable[[int], np.ndarray]  # of so many classes, (classes, 3) bytes
    draw_rows: Callable[[Sequence[Row], Sequence[str], Path, str], None]  # rows, classes, file, headline

    recipe: SegmentRecipe | DetectRecipe
    metrics: SegmentationMetrics | DetectionMetrics

    def __init__(self, classes: tuple[str, ...]) -> None:
        self.classes = classes
        self.notes: list[str] = []
        self.part = ""
        self.split: Split | None = None
        self.training: ImageDataset | None = None
        self.predictions: dict[int, Prediction] = {}  # of the validation images that are shown, by index

    def datasets(self, evaluation_only: bool = False) -> tuple[ImageDataset | None, ImageDataset]:
        """(training, validation) tensors; also checks the annotations and settles the classes.

        Raises TwinsError for data that cannot be used.
        """
        parts = self.open_parts(evaluation_only)
        self.part, self.split = parts[VALIDATION].part, parts[VALIDATION].split
        checked = self.check(parts) if self.recipe.check else {}
        raise_first_error(checked)
        self.notes += part_warnings(checked) if checked else _warnings_of(parts)
        self.settle(parts, checked, evaluation_only)
        tensors = {part: self.tensors(images, training=part == TRAINING) for part, images in parts.items()}
        self.training, self.val = tensors.get(TRAINING), tensors[VALIDATION]
        return self.training, self.val

    def mix(self, batch: Batch, *key: int) -> Batch:
        """The batch as it is: images with masks or boxes are not mixed."""
        return batch

    @torch.inference_mode()
    def evaluate(self, model: nn.Module, batches: Iterable[Batch]) -> Iterator[tuple[str, float]]:
        """`best_metric` first; every image counts once over all ranks, and is judged at its own size."""
        self.metrics = self.new_metrics(next(model.parameters()).device)
        self.predictions = {}
        shown = set(evenly(len(self.val), SHOWN))
        for batch in batches:
            for image, annotation, index in zip(batch.images, batch.labels, batch.indices, strict=True):
                prediction = self.evaluate_image(model, image, annotation, index)
                if index in shown:
                    self.predictions[index] = self.shown_part(prediction)
        self.metrics.reduce()
        self.predictions = {
            index: shown for of_rank in all_gather_object(self.predictions) for index, shown in of_rank.items()
        }
        yield from self.metrics.compute()

    def draw_samples(self, path: Path) -> None:
        """Some training images with their annotations, as they are on disk."""
        assert self.training is not None
        samples = self.training.samples(SHOWN)
        rows = [
            self.annotated(pil_to_tensor(image) / 255, annotation, Path(name).name)
            for image, annotation, name in samples
        ]
        self.draw_rows(rows, self.classes, path, self.recipe.data)

    def draw_batch(self, batch: Batch, folder: Path) -> None:
        """The first training batch, as the network gets it."""
        assert self.training is not None
        names = [Path(self.training.images.name(index)).name for index in batch.indices[:SHOWN]]
        shown = zip(batch.images[:SHOWN], batch.labels[:SHOWN], names, strict=True)
        rows = [self.annotated(self.displayed(image), annotation, name) for image, annotation, name in shown]
        self.draw_rows(rows, self.classes, folder / self.plots[2], "first training batch, augmented")

    def draw(self, folder: Path) -> None:
        """Of the last evaluation: predictions beside the truth, and the metrics of each class as bars and a table."""
        rows = [self.compared(index, prediction) for index, prediction in sorted(self.predictions.items())]
        if rows:
            headline = f"{images_in_words(self.part)}: {self.predictions_headline}"
            self.draw_rows(rows, self.classes, folder / self.plots[0], headline)
        columns = self.class_columns()
        mean = dict(self.metrics.compute())[self.best_metric]
        digits = {name: digits for name, _, digits in self.columns}[self.best_metric]
        title = f"{self.class_metric} of each class (%), mean {mean:.{digits}f}"
        objects = columns.get("objects")
        if objects is not None:
            title += "; in brackets: objects"
        colours = self.class_colours(len(self.classes))
        draw_class_bars(columns[self.class_metric], self.classes, colours, folder / self.plots[1], title, objects)
        write_per_class(folder / "per_class.csv", self.classes, columns)

    def findings(self) -> list[str]:
        return []

    def meta(self) -> dict[str, Any]:
        """What a checkpoint tells of itself, so that evaluation and prediction need nothing else."""
        return {
            "task": self.recipe.task,
            "name": model_name(self.recipe.model),
            "create_model": self.network_settings(),
            "classes": list(self.classes),
            "preprocessing": self.recipe.preprocessing().to_dict(),
            **({} if self.split is None else {"split": self.split.to_dict()}),
        }

    def network_settings(self) -> dict[str, Any]:
        """The keywords that decide which weights the network has."""
        return {
            "num_classes": len(self.classes),
            "in_chans": self.recipe.in_chans,
            "window_padding": self.recipe.window_padding,
            **self.recipe.model_kwargs,
        }

    @abstractmethod
    def open_parts(self, evaluation_only: bool = False) -> dict[str, Images]:
        """Validation images, and training images unless they are for an evaluation only, by the names of the parts.

        Raises TwinsError where they name other classes than those that are known.
        """

    @abstractmethod
    def check(self, parts: dict[str, Images]) -> Mapping[str, CheckedPart[Any]]:
        """The outcome of checking each part."""

    @abstractmethod
    def settle(self, parts: dict[str, Images], checked: Mapping[str, Any], evaluation_only: bool) -> None:
        """Take from the data what the network or the loss needs; `checked` is empty where nothing was checked."""

    @abstractmethod
    def tensors(self, images: Images, training: bool) -> ImageDataset:
        """The images as the network takes them."""

    @abstractmethod
    def new_metrics(self, device: torch.device) -> Any:
        """Metrics of which nothing is counted yet."""

    @abstractmethod
    def evaluate_image(self, model: nn.Module, image: Any, annotation: Any, index: int) -> Prediction:
        """Predict one image of a batch, and count it in the metrics."""

    @abstractmethod
    def shown_part(self, prediction: Prediction) -> Prediction:
        """What a plot shows of a prediction, on the CPU."""

    @abstractmethod
    def displayed(self, image: Tensor) -> Tensor:
        """An image of a batch as (C, H, W) in [0, 1], on the CPU."""

    @abstractmethod
    def annotated(self, image: Tensor, annotation: Any, name: str) -> Row:
        """An image, (C, H, W) in [0, 1], with its annotation and the name of its file."""

    @abstractmethod
    def compared(self, index: int, prediction: Prediction) -> Row:
        """A validation image with its annotation, and beside it with the prediction."""

    @abstractmethod
    def class_columns(self) -> dict[str, Tensor]:
        """Of the last evaluation, (classes,) each: how often a class is annotated, and its metrics in per cent."""


def _warnings_of(parts: Mapping[str, MaskedImages] | Mapping[str, BoxedImages]) -> list[str]:
    """What is known without a check of what was left out."""
    return [f"{part}: {warning}" for part, images in parts.items() for warning in images.warnings]


def by_part(train: Images | None, val: Images, evaluation_only: bool) -> dict[str, Images]:
    """The parts of the data by name, without the training images where they are for an evaluation only."""
    return {VALIDATION: val} if train is None or evaluation_only else {TRAINING: train, VALIDATION: val}

"""Segmentation: a class for each pixel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..class_names import numbered
from ..data.check_results import TRAINING, CheckedPart, DatasetStatistics
from ..data.loading import Batch, ImageDataset
from ..data.masks.checks import MaskTally, check_masks, mask_statistics
from ..data.masks.dataset import MaskedImages
from ..data.masks.decoding import IGNORED
from ..data.masks.layouts import open_masked
from ..data.masks.transforms import crop_error, mask_eval_transform, mask_train_transform
from ..data.opening import open_once
from ..data.palette import class_colours
from ..errors import TwinsError
from ..heads.segmentation import SEGMENTERS, Segmenter
from ..heads.sliding_window import class_probabilities
from ..metrics.confusion_table import cells_of, write_confusion
from ..metrics.segmentation import SegmentationMetrics
from ..metrics.segmentation_mistakes import ImageMistakes, WorstMasks, write_image_mistakes
from ..plots.lettering import shortened
from ..plots.masks import Masked, draw_masks
from ..plots.worst_mistakes import WorstMistake, write_worst_mistakes
from ..recipes import SegmentRecipe, one_number_a_class
from .dense_prediction import SHOWN, DensePrediction, by_part


class Segmentation(DensePrediction[MaskedImages, Tensor, Masked]):
    """A recipe made into data, network, losses and metrics. A prediction is an (H, W) mask of classes."""

    best_metric = "miou"
    columns: tuple[tuple[str, str, int], ...] = (("miou", "mIoU", 2), ("macc", "mAcc", 2), ("aacc", "aAcc", 2))
    plots: tuple[str, ...] = ("predictions.png", "iou.png", "train_batch.png", "mistakes.csv")
    predictions_headline = "image, truth and prediction"
    class_metric = "IoU"
    class_colours = staticmethod(class_colours)
    draw_rows = staticmethod(draw_masks)

    metrics: SegmentationMetrics

    def __init__(self, recipe: SegmentRecipe, classes: tuple[str, ...] = ()) -> None:
        super().__init__(classes)
        self.recipe: SegmentRecipe = recipe
        self.preprocessing = recipe.preprocessing()
        self.class_weights: Tensor | None = None
        self.auxiliary = recipe.auxiliary_weight > 0
        if recipe.reduce_zero_label:
            self.notes.append("masks: 0 is no class, and classes count from 1 (--no-reduce-zero-label otherwise)")

    def open_parts(self, evaluation_only: bool = False) -> dict[str, MaskedImages]:
        train, val = open_once(self.recipe, partial(open_masked, self.recipe, evaluation_only))
        if self.classes == numbered(len(val.classes)):
            self.classes = val.classes  # the network's data had no names yet
        self.classes = self.classes or val.classes
        self.notes += val.notes
        if 0 < len(val.classes) < len(self.classes):
            self.notes.append(f"{self.recipe.data} has {len(val.classes)} of the network's {len(self.classes)} classes")
        parts = by_part(train, val, evaluation_only)
        return {part: images.for_network(self.classes, self.recipe.data) for part, images in parts.items()}

    def check(self, parts: dict[str, MaskedImages]) -> dict[str, CheckedPart[MaskTally]]:
        self.classes, checked = check_masks(parts, self.recipe)
        return checked

    def settle(
        self, parts: dict[str, MaskedImages], checked: Mapping[str, CheckedPart[MaskTally]], evaluation_only: bool
    ) -> None:
        if TRAINING in checked and (error := crop_error(self.recipe, checked[TRAINING].tally.sizes.extremes)):
            raise TwinsError(error)
        if not self.classes:
            raise TwinsError(f"{self.recipe.data}: classes without names: pass --classes, or let --check count them")
        if evaluation_only:
            self.auxiliary = False
        else:
            self.class_weights = _class_weights(self.recipe.class_weights, checked.get(TRAINING), self.classes)

    def dataset_statistics(self) -> DatasetStatistics:
        """The outcome of a check of all images and masks."""
        return mask_statistics(self.open_parts(), self.recipe)

    def tensors(self, images: MaskedImages, training: bool) -> ImageDataset:
        r = self.recipe
        transform = mask_train_transform(r) if training else mask_eval_transform(self.preprocessing, r.test_scales)
        return ImageDataset(images.with_classes(self.classes), transform, r.in_chans, r.seed, training)

    def build(self) -> Segmenter:
        """The network for the data's classes, with the recipe's weights if it names any."""
        r = self.recipe
        return SEGMENTERS[r.head](
            r.model,
            **self.network_settings(),
            auxiliary=self.auxiliary,
            drop_path_rate=r.drop_path,
            drop_rate=r.drop,
        ).with_weights(r.weights, self.classes)

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of each head, summed over the pixels that count and divided by all: the published mean.

        So an image that is mostly ignored weighs less, and one that is wholly ignored weighs nothing.
        """
        if self.class_weights is not None:  # kept there: a copy at every batch would make the host wait for the GPU
            self.class_weights = self.class_weights.to(batch.images.device)
        importance = {"decode_head": 1.0, "auxiliary_head": self.recipe.auxiliary_weight}
        return {
            head: importance[head]
            * F.cross_entropy(logits.float(), batch.labels, self.class_weights, ignore_index=IGNORED, reduction="sum")
            / batch.labels.numel()
            for head, logits in model(batch.images, all_heads=True).items()
        }

    def new_metrics(self, device: torch.device) -> SegmentationMetrics:
        return SegmentationMetrics(len(self.classes), device)

    def evaluate(self, model: nn.Module, batches: Iterable[Batch]) -> Iterator[tuple[str, float]]:
        """As in all dense predictions; remembers the images with the largest share of wrong pixels as well."""
        self.worst = WorstMasks(SHOWN)
        metrics = list(super().evaluate(model, batches))
        self.worst.gather()
        yield from metrics

    def evaluate_image(self, model: nn.Module, image: Sequence[Tensor], annotation: Tensor, index: int) -> Tensor:
        """`image` is the image's views, one for each of the recipe's test scales."""
        r = self.recipe
        size = (annotation.shape[0], annotation.shape[1])
        mask = class_probabilities(model, image, size, r.slide, r.slide_stride, r.test_flip).argmax(dim=0)
        confusion = self.metrics.update(mask, annotation)
        self.worst.add(ImageMistakes.of(index, confusion), mask)
        return mask

    def shown_part(self, prediction: Tensor) -> Tensor:
        return prediction.to(torch.uint8).cpu()

    def displayed(self, image: Tensor) -> Tensor:
        return self.preprocessing.denormalise(image.cpu())

    def annotated(self, image: Tensor, annotation: Tensor, name: str) -> Masked:
        return Masked(image, {shortened(f"mask of {name}"): annotation.cpu()})

    def compared(self, index: int, prediction: Tensor) -> Masked:
        views, truth = self.val.at(index)[:2]
        image = F.interpolate(self.displayed(views[0])[None], size=truth.shape, mode="bilinear")[0]
        return Masked(image, {"truth": truth, "prediction": prediction})

    def draw(self, folder: Path) -> None:
        """Beside what all dense predictions have: what is taken for what, and the images with most wrong pixels."""
        super().draw(folder)
        write_confusion(folder / "confusion.csv", cells_of(self.metrics.confusion.cpu()), self.classes, "pixels")
        write_image_mistakes(folder / "mistakes.csv", self.worst.images, self.val.images.name, self.classes)
        write_worst_mistakes(folder, [self._worst(mistakes, mask) for mistakes, mask in self.worst.masks])

    def _worst(self, mistakes: ImageMistakes, mask: Tensor) -> WorstMistake:
        """An image with its truth and its prediction beside each other."""
        row = self.compared(mistakes.image, mask)
        save = partial(_draw_row, row, self.classes)
        return WorstMistake(save, self.val.images.name(mistakes.image), mistakes.describe(self.classes))

    def class_columns(self) -> dict[str, Tensor]:
        iou, accuracy, pixels = self.metrics.per_class()
        return {"pixels": pixels, "IoU": iou, "accuracy": accuracy}

    def meta(self) -> dict[str, Any]:
        return {**super().meta(), "head": self.recipe.head}

    def network_settings(self) -> dict[str, Any]:
        r = self.recipe
        return {"channels": r.head_channels, "head_drop": r.head_drop, **super().network_settings()}


def _draw_row(row: Masked, classes: Sequence[str], path: Path) -> None:
    draw_masks([row], classes, path, headline="")


def _class_weights(
    wanted: tuple[str, ...] | None, training: CheckedPart[MaskTally] | None, classes: tuple[str, ...]
) -> Tensor | None:
    """One weight a class; `auto` weighs by one over the root of a class's share of the pixels, with mean 1."""
    if wanted is None:
        return None
    if tuple(wanted) != ("auto",):
        return torch.tensor(one_number_a_class(wanted, classes))
    if training is None:
        raise TwinsError("--class-weights auto counts the masks' pixels: leave --check on, or pass numbers")
    pixels = torch.tensor([training.tally.pixels[label] for label in range(len(classes))], dtype=torch.float64)
    weights = (pixels.sum() / pixels.clamp(min=1)).sqrt() * (pixels > 0)
    return (weights / weights[pixels > 0].mean()).float()

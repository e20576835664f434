"""Segmentation: a class for each pixel."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms.functional import pil_to_tensor

from ..class_names import check_classes, numbered
from ..data.loading import Batch, ImageDataset
from ..data.masks.checks import MaskFindings
from ..data.masks.dataset import IGNORED, MaskedImages
from ..data.masks.layouts import open_masked
from ..data.masks.survey import look_through, survey_masks
from ..data.masks.transforms import crop_problem, mask_eval_transform, mask_train_transform
from ..data.palette import class_colours
from ..data.statistics import TRAINING, VALIDATION, Survey, evenly, oddities
from ..distributed.collectives import gather
from ..errors import TwinsError
from ..heads.segmentation import Segmenter, semantic_fpn, upernet
from ..heads.sliding_window import class_probabilities
from ..metrics.per_class_table import write_per_class
from ..metrics.segmentation import SegmentationMetrics
from ..plots.class_bars import draw_class_bars
from ..plots.masks import Masked, draw_masks
from ..preprocessing import denormalise
from ..recipes import SegmentRecipe, one_number_a_class
from ..zoo import model_name

SHOWN = 8  # validation images whose prediction is drawn, always the same ones


class Segmentation:
    """A recipe made into data, network, losses and metrics."""

    best_metric = "miou"
    columns: tuple[tuple[str, str, int], ...] = (("miou", "mIoU", 2), ("macc", "mAcc", 2), ("aacc", "aAcc", 2))
    plots: tuple[str, ...] = ("predictions.png", "iou.png", "train_batch.png")

    def __init__(self, recipe: SegmentRecipe, classes: tuple[str, ...] = ()) -> None:
        self.recipe = recipe
        self.preprocessing = recipe.preprocessing()
        self.classes = classes
        self.class_weights: Tensor | None = None
        self.auxiliary = recipe.auxiliary_weight > 0
        self.notes: list[str] = []

    def datasets(self, evaluation_only: bool = False) -> tuple[ImageDataset | None, ImageDataset]:
        """(training, validation) tensors; also looks through the masks and settles the classes and their weights."""
        parts = self._open(evaluation_only)
        if self.recipe.reduce_zero_label:
            self.notes.append("masks: 0 is no class, and classes count from 1 (--no-reduce-zero-label otherwise)")
        found = self._look_through(parts) if self.recipe.check else {}
        if not self.classes:
            raise TwinsError(f"{self.recipe.data}: classes without names: pass --classes, or let --check count them")
        if evaluation_only:
            self.auxiliary = False
        else:
            self.class_weights = _class_weights(self.recipe.class_weights, found.get(TRAINING), self.classes)
        tensors = {
            part: self._tensors(images.with_classes(self.classes), training=part == TRAINING)
            for part, images in parts.items()
        }
        self.training, self.val = tensors.get(TRAINING), tensors[VALIDATION]
        return self.training, self.val

    def survey(self) -> Survey:
        """What a look through all masks finds."""
        return survey_masks(self._open(), self.recipe)

    def build(self) -> Segmenter:
        """The network for the data's classes, with the recipe's weights if it names any."""
        r = self.recipe
        settings: dict[str, Any] = {"drop_path_rate": r.drop_path, "drop_rate": r.drop, "weights": r.weights}
        if r.head == "upernet":
            return upernet(r.model, auxiliary=self.auxiliary, **self._network(), **settings)
        return semantic_fpn(r.model, **self._network(), **settings)

    def mix(self, batch: Batch, *key: int) -> Batch:
        """Nothing: masks are not mixed."""
        return batch

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of each head, summed over the pixels that count and divided by all: the published mean.

        So an image that is mostly ignored weighs less, and one that is wholly ignored weighs nothing.
        """
        weight = None if self.class_weights is None else self.class_weights.to(batch.images.device)
        importance = {"decode_head": 1.0, "auxiliary_head": self.recipe.auxiliary_weight}
        return {
            head: importance[head]
            * F.cross_entropy(logits.float(), batch.labels, weight, ignore_index=IGNORED, reduction="sum")
            / batch.labels.numel()
            for head, logits in model(batch.images, all_heads=True).items()
        }

    @torch.inference_mode()
    def evaluate(self, model: nn.Module, batches: Iterable[Batch]) -> Iterator[tuple[str, float]]:
        """Mean intersection over union first; every image at its own size, summed over all ranks."""
        r = self.recipe
        self.metrics = SegmentationMetrics(len(self.classes), next(model.parameters()).device)
        self.answers: dict[int, Tensor] = {}
        shown = set(evenly(len(self.val), SHOWN))
        for batch in batches:
            for views, truth, place in zip(batch.images, batch.labels, batch.indices, strict=True):
                size = (truth.shape[0], truth.shape[1])
                probabilities = class_probabilities(model, views, size, r.slide, r.slide_stride, r.test_flip)
                answer = probabilities.argmax(dim=0)
                self.metrics.update(answer, truth)
                if place in shown:
                    self.answers[place] = answer.to(torch.uint8).cpu()
        self.metrics.reduce()
        self.answers = {place: answer for share in gather(self.answers) for place, answer in share.items()}
        yield from self.metrics.compute()

    def draw_samples(self, path: Path) -> None:
        """Some training images with their masks, as they are on disk."""
        assert self.training is not None
        samples = self.training.samples(SHOWN)
        rows = [Masked(pil_to_tensor(image) / 255, {"mask": mask}) for image, mask in samples]
        draw_masks(rows, self.classes, path, self.recipe.data)

    def draw_batch(self, batch: Batch, folder: Path) -> None:
        """The first training batch, as the network sees it."""
        images = denormalise(batch.images[:SHOWN].cpu(), self.preprocessing.mean, self.preprocessing.std)
        rows = [Masked(image, {"mask": mask}) for image, mask in zip(images, batch.labels.cpu(), strict=False)]
        draw_masks(rows, self.classes, folder / "train_batch.png", "first training batch, augmented")

    def draw(self, folder: Path) -> None:
        """Of the last evaluation: predictions beside the truth, and the classes' metrics as bars and as a table."""
        rows = []
        for place, answer in sorted(self.answers.items()):
            views, truth = self.val.at(place)[:2]
            image = denormalise(views[0][None], self.preprocessing.mean, self.preprocessing.std)
            image = F.interpolate(image, size=truth.shape, mode="bilinear")[0]
            rows.append(Masked(image, {"truth": truth, "prediction": answer}))
        if rows:
            draw_masks(rows, self.classes, folder / "predictions.png", "validation images, truth, prediction")
        metrics = self.metrics.per_class()
        mean = dict(self.metrics.compute())["miou"]
        colours = class_colours(len(self.classes))
        title = f"IoU of each class (%), mean {mean:.2f}"
        draw_class_bars(metrics.iou, self.classes, colours, folder / "iou.png", title)
        table = []
        per_class = zip(
            self.classes, metrics.pixels.tolist(), metrics.iou.tolist(), metrics.accuracy.tolist(), strict=True
        )
        for name, pixels, *values in per_class:
            table.append((name, pixels, *("" if math.isnan(value) else f"{value:.2f}" for value in values)))
        write_per_class(folder / "per_class.csv", ("class", "pixels", "IoU", "accuracy"), table)

    def meta(self) -> dict[str, Any]:
        """What a checkpoint tells of itself, so that evaluation and prediction need nothing else."""
        return {
            "task": self.recipe.task,
            "name": model_name(self.recipe.model),
            "head": self.recipe.head,
            "create_model": self._network(),
            "classes": list(self.classes),
            "preprocessing": self.preprocessing.to_dict(),
        }

    def _network(self) -> dict[str, Any]:
        """The keywords that decide which weights the network has."""
        r = self.recipe
        return {
            "num_classes": len(self.classes),
            "channels": r.head_channels,
            "head_drop": r.head_drop,
            "in_chans": r.in_chans,
            "window_padding": r.window_padding,
            **r.model_kwargs,
        }

    def _open(self, evaluation_only: bool = False) -> dict[str, MaskedImages]:
        """The parts of the data. Raises TwinsError where they name other classes than those that are known."""
        train, val = open_masked(self.recipe, evaluation_only)
        if self.classes == numbered(len(val.classes)):
            self.classes = val.classes  # the network's data had no names yet
        if self.classes and val.classes:
            check_classes(val.classes, self.classes, self.recipe.data)
        self.classes = self.classes or val.classes
        parts = {VALIDATION: val} if train is None or evaluation_only else {TRAINING: train, VALIDATION: val}
        return {part: images.with_classes(self.classes) for part, images in parts.items()}

    def _look_through(self, parts: dict[str, MaskedImages]) -> dict[str, MaskFindings]:
        """Findings of each part, the odd ones noted. Raises TwinsError for what makes training impossible."""
        self.classes, found = look_through(parts, self.recipe)
        self.notes += oddities(found)
        if TRAINING in found and (problem := crop_problem(self.recipe, found[TRAINING].extremes)):
            raise TwinsError(problem)
        return found

    def _tensors(self, images: MaskedImages, training: bool) -> ImageDataset:
        r = self.recipe
        transform = mask_train_transform(r) if training else mask_eval_transform(self.preprocessing, r.test_scales)
        return ImageDataset(images, transform, r.in_chans, r.seed, training)


def _class_weights(
    wanted: tuple[str, ...] | None, training: MaskFindings | None, classes: tuple[str, ...]
) -> Tensor | None:
    """One weight a class; `auto` weighs by one over the root of a class's share of the pixels, with mean 1."""
    if wanted is None:
        return None
    if tuple(wanted) != ("auto",):
        return torch.tensor(one_number_a_class(wanted, classes))
    if training is None:
        raise TwinsError("--class-weights auto counts the masks' pixels: leave --check on, or pass numbers")
    pixels = torch.tensor(training.pixels, dtype=torch.float64)
    weights = (pixels.sum() / pixels.clamp(min=1)).sqrt() * (pixels > 0)
    return (weights / weights[pixels > 0].mean()).float()

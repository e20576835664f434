"""Detection: a box, a class and perhaps a mask for each object."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.transforms.functional import pil_to_tensor

from ..class_names import check_classes
from ..data.boxes.dataset import BoxedImages
from ..data.boxes.layouts import open_boxed
from ..data.boxes.survey import look_through, survey_boxes
from ..data.boxes.transforms import box_eval_transform, box_train_transform
from ..data.loading import Batch, ImageDataset
from ..data.palette import object_colours
from ..data.statistics import TRAINING, VALIDATION, Survey, evenly, oddities
from ..distributed.collectives import gather
from ..errors import TwinsError
from ..heads.detection import DETECTORS, SURE, Detector
from ..metrics.detection import DetectionMetrics
from ..metrics.per_class_table import write_per_class
from ..plots.boxes import Boxed, draw_boxes
from ..plots.class_bars import draw_class_bars
from ..recipes import DetectRecipe
from ..zoo import model_name

SHOWN = 8  # validation images whose detections are drawn, always the same ones
MASK_RCNN_ALONE = {"box_channels", "masks", "proposals", "rpn_samples", "box_samples"}  # settings


class Detection:
    """A recipe made into data, network, losses and metrics."""

    best_metric = "ap"
    columns: tuple[tuple[str, str, int], ...] = (("ap", "AP", 1), ("ap50", "AP50", 1))
    plots: tuple[str, ...] = ("detections.png", "ap.png", "train_batch.png")

    def __init__(self, recipe: DetectRecipe, classes: tuple[str, ...] = ()) -> None:
        self.recipe = recipe
        self.preprocessing = recipe.preprocessing()
        self.classes = classes
        self.masks = recipe.detector == "mask_rcnn" and recipe.model_kwargs.get("masks", True)
        self.notes: list[str] = []

    def datasets(self, evaluation_only: bool = False) -> tuple[ImageDataset | None, ImageDataset]:
        """(training, validation) tensors; also looks through the annotations and settles the classes."""
        parts = self._open(evaluation_only)
        if self.recipe.check:
            self._look_through(parts)
        without = [part for part, images in parts.items() if not images.has_masks]
        if self.masks and without:
            lacking = f"objects without an outline ({' and '.join(without)})"
            if "masks" in self.recipe.model_kwargs:
                raise TwinsError(f"{self.recipe.data}: {lacking}: leave masks=true out, or outline them all")
            self.notes.append(f"{lacking}: boxes alone")
            self.masks = False
        if self.masks:
            self.columns = (*self.columns, ("mask_ap", "mask AP", 1))
        tensors = {part: self._tensors(images, training=part == TRAINING) for part, images in parts.items()}
        self.training, self.val = tensors.get(TRAINING), tensors[VALIDATION]
        self.truth = parts[VALIDATION]
        self.category_ids = next(iter(parts.values())).category_ids
        return self.training, self.val

    def survey(self) -> Survey:
        """What a look through all annotations finds."""
        return survey_boxes(self._open(), self.recipe)

    def build(self) -> Detector:
        """The network for the data's classes, with the recipe's weights if it names any."""
        r = self.recipe
        return DETECTORS[r.detector](
            r.model,
            **self._network(),
            **self.preprocessing.of_network(),
            score_thresh=r.conf,
            nms_thresh=r.iou,
            detections_per_img=r.max_det,
            drop_path_rate=r.drop_path,
            drop_rate=r.drop,
            weights=r.weights,
        )

    def mix(self, batch: Batch, *key: int) -> Batch:
        """Nothing: objects are not mixed."""
        return batch

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """What the heads are wrong by. Images have the size that augmentation gave them."""
        return model([image.float() / 255 for image in batch.images], batch.labels, resize=False)

    @torch.inference_mode()
    def evaluate(self, model: nn.Module, batches: Iterable[Batch]) -> Iterator[tuple[str, float]]:
        """COCO's metrics, the average precision of boxes first; every image once over all ranks."""
        self.metrics = DetectionMetrics(self.truth, self.masks)
        self.answers: dict[int, dict[str, Tensor]] = {}
        shown = set(evenly(len(self.val), SHOWN))
        for batch in batches:
            for image, place in zip(batch.images, batch.indices, strict=True):
                found = model([image.float() / 255])[0]
                self.metrics.update(place, found)
                if place in shown:
                    sure = found["scores"] >= SURE
                    self.answers[place] = {name: values[sure].cpu() for name, values in found.items()}
        self.metrics.reduce()
        self.answers = {place: answer for share in gather(self.answers) for place, answer in share.items()}
        yield from self.metrics.compute()

    def draw_samples(self, path: Path) -> None:
        """Some training images with their objects, as they are on disk."""
        assert self.training is not None
        samples = self.training.samples(SHOWN)
        rows = [[_boxed(pil_to_tensor(image), target)] for image, target in samples]
        draw_boxes(rows, self.classes, path, self.recipe.data)

    def draw_batch(self, batch: Batch, folder: Path) -> None:
        """The first training batch, as the network gets it."""
        rows = [
            [_boxed(image.cpu(), {name: values.cpu() for name, values in target.items()})]
            for image, target in zip(batch.images[:SHOWN], batch.labels[:SHOWN], strict=True)
        ]
        draw_boxes(rows, self.classes, folder / "train_batch.png", "first training batch, augmented")

    def draw(self, folder: Path) -> None:
        """Of the last evaluation: detections beside the truth, and the classes' metrics as bars and as a table."""
        rows = []
        for place, answer in sorted(self.answers.items()):
            image, target = self.truth.read(place, self.recipe.in_chans)
            pixels = pil_to_tensor(image)
            rows.append([_boxed(pixels, target, "truth"), _boxed(pixels, answer, "detected")])
        if rows:
            headline = f"validation images: truth, and what was detected with a score of {SURE} or more"
            draw_boxes(rows, self.classes, folder / "detections.png", headline)
        metrics = self.metrics.per_class()
        mean = dict(self.metrics.compute())["ap"]
        colours = object_colours(len(self.classes))
        title = f"AP of each class (%), mean {mean:.1f}"
        draw_class_bars(metrics.ap, self.classes, colours, folder / "ap.png", title)
        columns = {"objects": metrics.objects, "AP": metrics.ap, "AP50": metrics.ap50}
        if metrics.mask_ap is not None:
            columns["mask AP"] = metrics.mask_ap
        table = [
            (
                name,
                *("" if math.isnan(value) else f"{value:.2f}" if isinstance(value, float) else value for value in row),
            )
            for name, *row in zip(self.classes, *(values.tolist() for values in columns.values()), strict=True)
        ]
        write_per_class(folder / "per_class.csv", ("class", *columns), table)

    def meta(self) -> dict[str, Any]:
        """What a checkpoint tells of itself, so that evaluation and prediction need nothing else."""
        return {
            "task": self.recipe.task,
            "name": model_name(self.recipe.model),
            "detector": self.recipe.detector,
            "create_model": self._network(),
            "classes": list(self.classes),
            "category_ids": list(self.category_ids),
            "preprocessing": self.preprocessing.to_dict(),
        }

    def _network(self) -> dict[str, Any]:
        """The keywords that decide which weights the network has."""
        r = self.recipe
        settings = {
            "num_classes": len(self.classes),
            "in_chans": r.in_chans,
            "window_padding": r.window_padding,
            **r.model_kwargs,
        }
        if r.detector == "mask_rcnn":
            return {**settings, "masks": self.masks}
        return {name: value for name, value in settings.items() if name not in MASK_RCNN_ALONE}

    def _open(self, evaluation_only: bool = False) -> dict[str, BoxedImages]:
        """The parts of the data. Raises TwinsError where they name other classes than those that are known."""
        train, val = open_boxed(self.recipe, evaluation_only)
        parts = {VALIDATION: val} if train is None or evaluation_only else {TRAINING: train, VALIDATION: val}
        self.classes = self.classes or val.classes
        check_classes(val.classes, self.classes, self.recipe.data)
        return parts

    def _look_through(self, parts: dict[str, BoxedImages]) -> None:
        """Note what is odd. Raises TwinsError for what makes training impossible."""
        self.notes += oddities(look_through(parts, self.recipe))

    def _tensors(self, images: BoxedImages, training: bool) -> ImageDataset:
        r = self.recipe
        transform = box_train_transform(r) if training else box_eval_transform
        if not (training and self.masks):  # metrics count from the annotations themselves
            images = images.boxes_alone()
        return ImageDataset(images, transform, r.in_chans, r.seed, training)


def _boxed(image: Tensor, objects: dict[str, Tensor], title: str = "") -> Boxed:
    """(C, H, W) bytes and a target, or detections, to be drawn."""
    masks = objects.get("masks")
    if masks is not None and masks.ndim == 4:  # of detections, as torchvision has them
        masks = masks[:, 0]
    return Boxed(image / 255, objects["boxes"], objects["labels"], objects.get("scores"), masks, title)

"""Detection: a box, a class and perhaps a mask for each object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.functional import to_pil_image

from ..data.boxes.checks import BoxTally, box_statistics, check_boxes
from ..data.boxes.class_mapping import with_classes_of
from ..data.boxes.dataset import BoxedImages
from ..data.boxes.layouts import open_boxed
from ..data.boxes.transforms import box_eval_transform, box_train_transform
from ..data.check_results import VALIDATION, CheckedPart, DatasetStatistics
from ..data.loading import Batch, ImageDataset
from ..data.opening import open_once
from ..data.palette import object_colours
from ..errors import TwinsError
from ..heads.detection import DETECTORS, SURE, Detector
from ..metrics.confusion_table import cells_of, write_confusion
from ..metrics.detection import DetectionMetrics
from ..metrics.detection_mistakes import (
    Mistake,
    confusion_with_background,
    worst_first,
    worst_images,
    write_mistakes,
)
from ..metrics.score_thresholds import write_thresholds
from ..plots.boxes import Boxed, draw_boxes, draw_objects
from ..plots.confusion import draw_confusion
from ..plots.lettering import shortened
from ..plots.outlines import MISTAKES
from ..plots.thresholds import draw_thresholds
from ..plots.worst_mistakes import WorstMistake, write_worst_mistakes
from ..recipes import DetectRecipe
from .dense_prediction import SHOWN, DensePrediction, by_part

MASK_RCNN_ALONE = {"box_channels", "masks", "proposals", "rpn_samples", "box_samples"}  # settings

Objects = dict[str, Any]  # boxes (N, 4), labels (N,), perhaps scores (N,) and masks


class Detection(DensePrediction[BoxedImages, Objects, list[Boxed]]):
    """A recipe made into data, network, losses and metrics. A prediction is what `Detector` outputs for an image."""

    best_metric = "ap"
    columns: tuple[tuple[str, str, int], ...] = (("ap", "AP", 1), ("ap50", "AP50", 1))
    plots: tuple[str, ...] = (
        "detections.png", "ap.png", "train_batch.png", "mistakes.png", "mistakes.csv", "confusion.png", "thresholds.png"
    )  # fmt: skip
    predictions_headline = f"truth, and detections with a score of {SURE} or more"
    class_metric = "AP"
    class_colours = staticmethod(object_colours)
    draw_rows = staticmethod(draw_boxes)

    metrics: DetectionMetrics

    def __init__(self, recipe: DetectRecipe, classes: tuple[str, ...] = ()) -> None:
        super().__init__(classes)
        self.recipe: DetectRecipe = recipe
        self.preprocessing = recipe.preprocessing()
        self.masks = recipe.detector == "mask_rcnn" and recipe.model_kwargs.get("masks", True)

    def open_parts(self, evaluation_only: bool = False) -> dict[str, BoxedImages]:
        train, val = open_once(self.recipe, partial(open_boxed, self.recipe, evaluation_only))
        self.classes = self.classes or val.classes
        if val.classes != self.classes:  # a network's
            known = f"the {len(self.classes)} classes that the network knows"
            self.notes.append(f"{self.recipe.data}: its {len(val.classes)} classes are found by name among {known}")
        parts = by_part(train, val, evaluation_only)
        return {part: with_classes_of(images, self.classes, self.recipe.data) for part, images in parts.items()}

    def check(self, parts: dict[str, BoxedImages]) -> dict[str, CheckedPart[BoxTally]]:
        return check_boxes(parts, self.recipe)

    def settle(
        self, parts: dict[str, BoxedImages], checked: Mapping[str, CheckedPart[BoxTally]], evaluation_only: bool
    ) -> None:
        """Whether there are masks to learn."""
        without = [part for part, images in parts.items() if not images.has_masks]
        if self.masks and without:
            lacking = f"segmentations of fewer than half of the objects ({' and '.join(without)})"
            if "masks" in self.recipe.model_kwargs:
                raise TwinsError(f"{self.recipe.data}: {lacking}: leave masks=true out, or annotate more masks")
            self.notes.append(f"{lacking}: boxes alone")
            self.masks = False
        if self.masks:
            self.columns = (*self.columns, ("mask_ap", "mask AP", 1))
        if self.recipe.conf > DetectRecipe.conf:
            advice = "leave --conf out to measure, and use it to predict"
            self.notes.append(f"AP counts detections of all scores, and --conf {self.recipe.conf} lowers it: {advice}")
        self.truth = parts[VALIDATION]
        self.category_ids = next(iter(parts.values())).category_ids

    def dataset_statistics(self) -> DatasetStatistics:
        """The outcome of a check of all images and annotations."""
        return box_statistics(self.open_parts(), self.recipe)

    def tensors(self, images: BoxedImages, training: bool) -> ImageDataset:
        r = self.recipe
        transform = box_train_transform(r) if training else box_eval_transform
        if not (training and self.masks):  # metrics count from the annotations themselves
            images = images.boxes_alone()
        return ImageDataset(images, transform, r.in_chans, r.seed, training)

    def build(self) -> Detector:
        """The network for the data's classes, with the recipe's weights if it names any."""
        r = self.recipe
        return DETECTORS[r.detector](
            r.model,
            **self.network_settings(),
            **self.preprocessing.of_network(),
            score_thresh=r.conf,
            nms_thresh=r.iou,
            detections_per_img=r.max_det,
            drop_path_rate=r.drop_path,
            drop_rate=r.drop,
        ).with_weights(r.weights, self.classes)

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Those of the detector's heads. Images have the size that augmentation gave them."""
        return model([self.preprocessing.to_float(image) for image in batch.images], batch.labels, resize=False)

    def new_metrics(self, device: torch.device) -> DetectionMetrics:
        return DetectionMetrics(self.truth, self.masks)

    def evaluate_image(self, model: nn.Module, image: Tensor, annotation: Objects, index: int) -> Objects:
        """`image` is (C, H, W) of bytes; the metrics look its annotation up themselves."""
        detections = model([self.preprocessing.to_float(image)])[0]
        self.metrics.update(index, detections)
        return detections

    def shown_part(self, prediction: Objects) -> Objects:
        sure = prediction["scores"] >= SURE
        return {name: values[sure].cpu() for name, values in prediction.items()}

    def displayed(self, image: Tensor) -> Tensor:
        return image.cpu() / 255

    def annotated(self, image: Tensor, annotation: Objects, name: str) -> list[Boxed]:
        pixels = to_pil_image((255 * image).round().byte())
        return [_boxed(pixels, {key: values.cpu() for key, values in annotation.items()}, name)]

    def compared(self, index: int, prediction: Objects) -> list[Boxed]:
        image, truth = self.truth.read(index, self.recipe.in_chans)
        name = self.truth.images[index].name
        return [_boxed(image, truth, f"truth: {name}"), _boxed(image, prediction, f"detections: {name}")]

    def draw(self, folder: Path) -> None:
        """Beside what all dense predictions have: mistakes, what is confused with what, and all score thresholds."""
        super().draw(folder)
        thresholds = self.metrics.score_thresholds(self.recipe.conf)
        min_score = SURE
        if thresholds is not None:
            min_score = float(thresholds.threshold[thresholds.best])
            curves = {"precision": thresholds.precision, "recall": thresholds.recall, "F1": thresholds.f1}
            write_thresholds(folder / "thresholds.csv", thresholds)
            draw_thresholds(thresholds.threshold, curves, thresholds.best, "F1", folder / "thresholds.png")
        mistakes = self.metrics.mistakes(min_score)
        objects = self.metrics.per_class().objects
        counts = Counter(mistake.kind for mistake in mistakes)
        result = f"{int(objects.sum())} objects in all: {counts['missed']} missed, {counts['confused']} confused; "
        result += f"{counts['false']} false detections; scores above {min_score:.2f}"
        write_mistakes(folder / "mistakes.csv", worst_first(mistakes), self.truth.name, self.classes)
        worst = [self._with_mistakes(of_image) for of_image in worst_images(mistakes, SHOWN)]
        write_worst_mistakes(folder, [self._worst(boxed) for boxed in worst])
        rows, headline = [[boxed] for boxed in worst], f"worst images first; {result}"
        draw_boxes(rows, self.classes, folder / "mistakes.png", headline, MISTAKES)
        confusion = confusion_with_background(mistakes, objects)
        classes = (*self.classes, "(background)")
        write_confusion(folder / "confusion.csv", cells_of(confusion), classes, "objects")
        draw_confusion(confusion, (*self.classes, "background"), folder / "confusion.png", "objects", result)

    def findings(self) -> list[str]:
        """The score threshold with the best F1."""
        thresholds = self.metrics.score_thresholds(self.recipe.conf)
        if thresholds is None:
            return []
        f1, threshold = thresholds.f1[thresholds.best], thresholds.threshold[thresholds.best]
        if not f1:
            return ["best F1 0.00: no detection has an IoU of 0.5 with an object of its class"]
        return [f"best F1 {f1:.2f} at --conf {threshold:.2f}: pass it to twins predict"]

    def _with_mistakes(self, mistakes: Sequence[Mistake]) -> Boxed:
        """The image that they are in."""
        index = mistakes[0].image
        image, _ = self.truth.boxes_alone().read(index, self.recipe.in_chans)
        counts = Counter(mistake.kind for mistake in mistakes)
        kinds = ", ".join(f"{counts[kind]} {kind}" for kind in MISTAKES if counts[kind])
        return Boxed(
            image,
            torch.tensor([mistake.box for mistake in mistakes]),
            torch.tensor([mistake.predicted if mistake.truth is None else mistake.truth for mistake in mistakes]),
            title=f"{self.truth.images[index].name}: {kinds}",
            texts=[self._text(mistake) for mistake in mistakes],
            styles=[MISTAKES[mistake.kind] for mistake in mistakes],
        )

    def _worst(self, boxed: Boxed) -> WorstMistake:
        """An image with its mistakes marked, whose title is its name and how many there are of which kind."""
        name, _, kinds = boxed.title.rpartition(": ")
        return WorstMistake(draw_objects(boxed, self.classes).save, name, kinds)

    def _text(self, mistake: Mistake) -> str:
        """What is written at it: the class of what is missed, of what is false with its score, and both if confused."""
        truth, predicted = (
            None if label is None else shortened(self.classes[label]) for label in (mistake.truth, mistake.predicted)
        )
        if predicted is None:
            return f"no {truth}"
        score = f"{predicted} {mistake.score:.2f}"
        return score if truth is None else f"{truth} \u2192 {score}"

    def class_columns(self) -> dict[str, Tensor]:
        ap, ap50, objects, mask_ap = self.metrics.per_class()
        columns = {"objects": objects, "AP": ap, "AP50": ap50}
        return columns if mask_ap is None else {**columns, "mask AP": mask_ap}

    def meta(self) -> dict[str, Any]:
        return {**super().meta(), "detector": self.recipe.detector, "category_ids": list(self.category_ids)}

    def network_settings(self) -> dict[str, Any]:
        settings = super().network_settings()
        if self.recipe.detector == "mask_rcnn":
            return {**settings, "masks": self.masks}
        return {name: value for name, value in settings.items() if name not in MASK_RCNN_ALONE}


def _boxed(image: Image.Image, objects: Objects, title: str) -> Boxed:
    """With annotated or detected objects, to be drawn."""
    masks = objects.get("masks")
    if masks is not None and masks.ndim == 4:  # of detections, as torchvision has them
        masks = masks[:, 0]
    return Boxed(image, objects["boxes"], objects["labels"], objects.get("scores"), masks, title)

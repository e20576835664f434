"""Detection: a box, a class and perhaps a mask for each object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.transforms.functional import pil_to_tensor

from ..data.boxes.checks import BoxTally, box_statistics, check_boxes
from ..data.boxes.class_mapping import with_classes_of
from ..data.boxes.dataset import BoxedImages
from ..data.boxes.layouts import open_boxed
from ..data.boxes.transforms import box_eval_transform, box_train_transform
from ..data.check_results import VALIDATION, CheckedPart, DatasetStatistics
from ..data.loading import Batch, ImageDataset
from ..data.palette import object_colours
from ..errors import TwinsError
from ..heads.detection import DETECTORS, SURE, Detector
from ..metrics.detection import DetectionMetrics
from ..plots.boxes import Boxed, draw_boxes
from ..recipes import DetectRecipe
from .dense_prediction import DensePrediction, by_part

MASK_RCNN_ALONE = {"box_channels", "masks", "proposals", "rpn_samples", "box_samples"}  # settings

Objects = dict[str, Any]  # boxes (N, 4), labels (N,), perhaps scores (N,) and masks


class Detection(DensePrediction[BoxedImages, Objects, list[Boxed]]):
    """A recipe made into data, network, losses and metrics. A prediction is what `Detector` outputs for an image."""

    best_metric = "ap"
    columns: tuple[tuple[str, str, int], ...] = (("ap", "AP", 1), ("ap50", "AP50", 1))
    plots: tuple[str, ...] = ("detections.png", "ap.png", "train_batch.png")
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
        train, val = open_boxed(self.recipe, evaluation_only)
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

    def annotated(self, image: Tensor, annotation: Objects) -> list[Boxed]:
        return [_boxed(image, {name: values.cpu() for name, values in annotation.items()})]

    def compared(self, index: int, prediction: Objects) -> list[Boxed]:
        opened, truth = self.truth.read(index, self.recipe.in_chans)
        image = pil_to_tensor(opened) / 255
        name = self.truth.images[index].name
        return [_boxed(image, truth, f"truth: {name}"), _boxed(image, prediction, f"detections: {name}")]

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


def _boxed(image: Tensor, objects: Objects, title: str = "") -> Boxed:
    """(C, H, W) in [0, 1] with annotated or detected objects, to be drawn."""
    masks = objects.get("masks")
    if masks is not None and masks.ndim == 4:  # of detections, as torchvision has them
        masks = masks[:, 0]
    return Boxed(image, objects["boxes"], objects["labels"], objects.get("scores"), masks, title)

"""Predictions as JSON, one function a task."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any

from PIL import Image

from ..data.palette import class_colours, object_colours
from ..metrics.coco_format import CocoDetections
from ..predict import Classified, Detected, Segmented


def result_of(prediction: Classified | Segmented | Detected, topk: int, conf: float) -> dict[str, Any]:
    """The fields of an image's result.

    Of a classifier the `topk` likeliest classes, falling; of a segmenter the mask, a grey PNG of class indices in
    base64, and each class's share of the pixels, falling; of a detector the objects that score more than `conf`,
    falling, with boxes in pixels of the upright image and, from Mask R-CNN, masks in COCO's compressed RLE.
    """
    if isinstance(prediction, Classified):
        return {"classes": _likeliest(prediction, topk)}
    if isinstance(prediction, Segmented):
        return {"mask": _png(prediction), "pixels": _shares(prediction)}
    return {"objects": _objects(prediction, conf)}


def colours_of(task: str, classes: int) -> list[list[int]] | None:
    """Red, green and blue for each class, as `twins predict` draws them; None for classifiers."""
    if task == "classify":
        return None
    colours: list[list[int]] = (class_colours if task == "segment" else object_colours)(classes).tolist()
    return colours


def _likeliest(prediction: Classified, topk: int) -> list[dict[str, Any]]:
    values, labels = prediction.probabilities.topk(min(topk, len(prediction.classes)))
    return [
        {"label": label, "name": prediction.classes[label], "probability": value}
        for value, label in zip(values.tolist(), labels.tolist(), strict=True)
    ]


def _png(prediction: Segmented) -> str:
    file = BytesIO()
    Image.fromarray(prediction.mask.numpy()).save(file, "PNG", compress_level=1)  # a third of the time, little larger
    return base64.b64encode(file.getvalue()).decode("ascii")


def _shares(prediction: Segmented) -> list[dict[str, Any]]:
    counts = prediction.mask.flatten().bincount().tolist()
    present = sorted((label for label, count in enumerate(counts) if count), key=lambda label: -counts[label])
    total = prediction.mask.numel()
    return [{"label": label, "name": prediction.classes[label], "share": counts[label] / total} for label in present]


def _objects(prediction: Detected, conf: float) -> list[dict[str, Any]]:
    kept = prediction.scores > conf
    labels = prediction.labels[kept].tolist()
    objects = [
        {"label": label, "name": prediction.classes[label], "score": score, "box": box}
        for label, score, box in zip(
            labels, prediction.scores[kept].tolist(), prediction.boxes[kept].tolist(), strict=True
        )
    ]
    if prediction.masks is not None:
        found = {"boxes": prediction.boxes, "scores": prediction.scores, "labels": prediction.labels}
        found = {name: values[kept] for name, values in found.items()} | {"masks": prediction.masks[kept][:, None]}
        for one, mask in zip(objects, CocoDetections.of(found, masks=True).masks, strict=True):
            one["mask"] = mask
    return objects

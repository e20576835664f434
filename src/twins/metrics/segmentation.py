"""Intersection over union and accuracy of a segmenter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ..data.masks.decoding import IGNORED
from ..distributed.collectives import sum_over_ranks


class PerClassMetrics(NamedTuple):
    """(classes,) a field, on the CPU; float64 ones are in per cent, NaN where a metric is not defined."""

    iou: Tensor  # float64
    accuracy: Tensor  # float64
    pixels: Tensor  # int64, of the truth


class SegmentationMetrics:
    """Intersection over union and accuracy over the pixels of all images, each labelled pixel weighing the same.

    Of class c, with true positives TP (pixels of c that are predicted as c), false positives FP and false negatives FN:
    IoU_c = 100 x TP / (TP + FP + FN), accuracy_c = 100 x TP / (TP + FN). miou and macc are their means over the classes
    for which they are defined, aacc = 100 x (pixels predicted as what they are) / (labelled pixels).

    `confusion` is (classes, classes) int64 on the device, [truth, prediction].
    """

    def __init__(self, classes: int, device: torch.device) -> None:
        self.classes = classes
        self.confusion = torch.zeros(classes, classes, dtype=torch.int64, device=device)
        self.images = torch.tensor(0)
        self.device = device

    def update(self, prediction: Tensor, truth: Tensor) -> Tensor:
        """Count an image: (H, W) classes each, of any integer type; pixels whose truth is IGNORED are left out.

        Returns the image's own confusion, (classes, classes) int64 on the device, [truth, prediction].
        """
        truth = truth.to(self.device)
        labelled = truth != IGNORED
        cells = truth[labelled].long() * self.classes + prediction.to(self.device)[labelled].long()
        confusion = cells.bincount(minlength=self.classes**2).view(self.classes, self.classes)
        self.confusion += confusion
        self.images += 1
        return confusion

    def reduce(self) -> None:
        """Add up what all ranks counted; each of them must ask."""
        for name in ("confusion", "images"):
            setattr(self, name, sum_over_ranks(getattr(self, name), self.device))

    def compute(self) -> Iterator[tuple[str, float]]:
        """miou, macc and aacc in per cent, 0 where nothing was counted, and images, their number."""
        iou, accuracy, pixels = self.per_class()
        true_positives = self.confusion.diagonal().sum().item()
        yield "miou", _mean(iou)
        yield "macc", _mean(accuracy)
        yield "aacc", 100 * true_positives / max(pixels.sum().item(), 1)
        yield "images", self.images.item()

    def per_class(self) -> PerClassMetrics:
        """IoU is undefined for a class that occurs in neither truth nor prediction, accuracy for one not in truth."""
        confusion = self.confusion.cpu()
        true_positives = confusion.diagonal().double()
        pixels, predicted = confusion.sum(dim=1), confusion.sum(dim=0)
        iou = 100 * true_positives / (pixels + predicted - true_positives)
        return PerClassMetrics(iou, 100 * true_positives / pixels, pixels)


def _mean(metrics: Tensor) -> float:
    """Over those that are defined; 0 if none is."""
    defined = metrics[~metrics.isnan()]
    return defined.mean().item() if len(defined) else 0.0

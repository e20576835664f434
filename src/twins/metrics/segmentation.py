"""Intersection over union and accuracy of a segmenter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ..data.masks.dataset import IGNORED
from ..distributed.collectives import sum_over_ranks


class PerClassMetrics(NamedTuple):
    """What became of each class, (classes,) a field: in percent, nan where undefined, and pixels of the truth."""

    iou: Tensor
    accuracy: Tensor
    pixels: Tensor


class SegmentationMetrics:
    """Intersection over union and accuracy of a segmenter, each labelled pixel counted once and weighing the same."""

    def __init__(self, classes: int, device: torch.device) -> None:
        self.classes = classes
        self.confusion = torch.zeros(classes, classes, dtype=torch.int64, device=device)  # [truth, prediction]
        self.images = torch.tensor(0)
        self.device = device

    def update(self, prediction: Tensor, truth: Tensor) -> None:
        """Count an image: (H, W) classes each; pixels whose truth is IGNORED are left out."""
        truth = truth.to(self.device)
        labelled = truth != IGNORED
        cells = truth[labelled].long() * self.classes + prediction.to(self.device)[labelled].long()
        self.confusion += cells.bincount(minlength=self.classes**2).view(self.classes, self.classes)
        self.images += 1

    def reduce(self) -> None:
        """Add up what all ranks counted."""
        for name in ("confusion", "images"):
            setattr(self, name, sum_over_ranks(getattr(self, name), self.device))

    def compute(self) -> Iterator[tuple[str, float]]:
        """Means over the classes for which a metric is defined; 0 where nothing was counted."""
        iou, accuracy, pixels = self.per_class()
        hits = self.confusion.diagonal().sum().item()
        yield "miou", _mean(iou)
        yield "macc", _mean(accuracy)
        yield "aacc", 100 * hits / max(pixels.sum().item(), 1)
        yield "images", self.images.item()

    def per_class(self) -> PerClassMetrics:
        """IoU is undefined for a class that occurs in neither truth nor prediction, accuracy for one not in truth."""
        confusion = self.confusion.cpu()
        hits, pixels, predicted = confusion.diagonal().double(), confusion.sum(dim=1), confusion.sum(dim=0)
        return PerClassMetrics(100 * hits / (pixels + predicted - hits), 100 * hits / pixels, pixels)


def _mean(metrics: Tensor) -> float:
    """Over those that are defined; 0 if none is."""
    defined = metrics[~metrics.isnan()]
    return defined.mean().item() if len(defined) else 0.0

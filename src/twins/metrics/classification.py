"""Figures over a whole set, exact over any number of processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.masks.dataset import IGNORED
from ..distributed.world import all_sum

CONFUSION_LIMIT = 1000  # classes; a larger matrix is neither looked at nor cheap


class ClassificationFigures:
    """Accuracy, loss and confusion of a classifier, each sample counted once and weighing the same."""

    def __init__(self, classes: int, device: torch.device) -> None:
        self.classes = classes
        self.sums = torch.zeros(4, dtype=torch.float64)  # samples, right, right among five, loss
        self.per_class = torch.zeros(2, classes, dtype=torch.int64)  # samples, right
        size = classes if classes <= CONFUSION_LIMIT else 0
        self.confusion = torch.zeros(size, size, dtype=torch.int64)  # [truth, prediction]
        self.device = device

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Count a batch: (B, classes) logits, (B,) labels."""
        logits, labels = logits.float(), labels
        losses = F.cross_entropy(logits, labels, reduction="none").double()
        ranked = logits.topk(min(5, self.classes), dim=1).indices.cpu()
        labels = labels.cpu()
        right = ranked == labels[:, None]
        self.sums += torch.stack(
            [torch.tensor(float(len(labels))), right[:, 0].sum(), right.sum(), losses.sum().cpu()]
        ).double()
        self.per_class[0] += labels.bincount(minlength=self.classes)
        self.per_class[1] += labels[right[:, 0]].bincount(minlength=self.classes)
        if len(self.confusion):
            cells = labels * self.classes + ranked[:, 0]
            self.confusion += cells.bincount(minlength=self.classes**2).view(self.classes, self.classes)

    def reduce(self) -> None:
        """Add up what all ranks counted."""
        for name in ("sums", "per_class", "confusion"):
            setattr(self, name, _over_all_ranks(getattr(self, name), self.device))

    def figures(self) -> Iterator[tuple[str, float]]:
        samples, right, right5, loss = self.sums.tolist()
        yield "acc1", 100 * right / samples if samples else 0.0
        yield "acc5", 100 * right5 / samples if samples else 0.0
        yield "loss", loss / samples if samples else 0.0
        yield "images", samples


class ClassFigures(NamedTuple):
    """What became of each class, (classes,) a field: in percent, nan where undefined, and pixels of the truth."""

    iou: Tensor
    accuracy: Tensor
    pixels: Tensor


class SegmentationFigures:
    """Intersection over union and accuracy of a segmenter, each labelled pixel counted once and weighing the same."""

    def __init__(self, classes: int, device: torch.device) -> None:
        self.classes = classes
        self.confusion = torch.zeros(classes, classes, dtype=torch.int64, device=device)  # [truth, prediction]
        self.images = torch.tensor(0)
        self.device = device

    def update(self, prediction: Tensor, truth: Tensor) -> None:
        """Count a picture: (H, W) classes each; pixels whose truth is IGNORED are left out."""
        truth = truth.to(self.device)
        labelled = truth != IGNORED
        cells = truth[labelled].long() * self.classes + prediction.to(self.device)[labelled].long()
        self.confusion += cells.bincount(minlength=self.classes**2).view(self.classes, self.classes)
        self.images += 1

    def reduce(self) -> None:
        """Add up what all ranks counted."""
        for name in ("confusion", "images"):
            setattr(self, name, _over_all_ranks(getattr(self, name), self.device))

    def figures(self) -> Iterator[tuple[str, float]]:
        """Means over the classes for which a figure is defined; 0 where nothing was counted."""
        iou, accuracy, pixels = self.per_class()
        hits = self.confusion.diagonal().sum().item()
        yield "miou", _mean(iou)
        yield "macc", _mean(accuracy)
        yield "aacc", 100 * hits / max(pixels.sum().item(), 1)
        yield "images", self.images.item()

    def per_class(self) -> ClassFigures:
        """IoU is undefined for a class that occurs in neither truth nor prediction, accuracy for one not in truth."""
        confusion = self.confusion.cpu()
        hits, pixels, predicted = confusion.diagonal().double(), confusion.sum(dim=1), confusion.sum(dim=0)
        return ClassFigures(100 * hits / (pixels + predicted - hits), 100 * hits / pixels, pixels)


def _mean(figures: Tensor) -> float:
    """Over those that are defined; 0 if none is."""
    defined = figures[~figures.isnan()]
    return defined.mean().item() if len(defined) else 0.0


def _over_all_ranks(counted: Tensor, device: torch.device) -> Tensor:
    """The sum of what each rank counted, on the processor."""
    # gloo and nccl each take their own device's tensors; MPS has no doubles, but no ranks either.
    return all_sum(counted.to(device) if device.type == "cuda" else counted.cpu()).cpu()

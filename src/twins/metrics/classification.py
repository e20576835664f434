"""Accuracy, loss and confusion of a classifier."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from ..distributed.collectives import sum_over_ranks

CONFUSION_LIMIT = 1000  # classes; a larger matrix is neither looked at nor cheap


class ClassificationMetrics:
    """Accuracy, loss and confusion over N images, each counted once and weighing the same.

    acc1 = 100 x (images whose label has the largest logit) / N, acc5 = 100 x (images whose label is among the five
    largest) / N, loss = the mean of -log softmax(logits)[label]. All are 0 where nothing was counted.

    `per_class` is (2, classes) int64, the images of each class and those among them that acc1 counts; `confusion`
    (classes, classes) int64, [label, prediction], empty for more than CONFUSION_LIMIT classes. Both are on the CPU.
    """

    def __init__(self, classes: int, device: torch.device) -> None:
        self.classes = classes
        self.sums = torch.zeros(4, dtype=torch.float64)  # images, those that acc1 counts, that acc5 counts, loss
        self.per_class = torch.zeros(2, classes, dtype=torch.int64)
        size = classes if classes <= CONFUSION_LIMIT else 0
        self.confusion = torch.zeros(size, size, dtype=torch.int64)
        self.device = device

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Count a batch: (B, classes) floating-point logits, (B,) int64 labels, on any device."""
        logits = logits.float()
        losses = F.cross_entropy(logits, labels, reduction="none").double()
        ranked = logits.topk(min(5, self.classes), dim=1).indices.cpu()
        labels = labels.cpu()
        correct = ranked == labels[:, None]
        self.sums += torch.stack(
            [torch.tensor(float(len(labels))), correct[:, 0].sum(), correct.sum(), losses.sum().cpu()]
        ).double()
        self.per_class[0] += labels.bincount(minlength=self.classes)
        self.per_class[1] += labels[correct[:, 0]].bincount(minlength=self.classes)
        if len(self.confusion):
            cells = labels * self.classes + ranked[:, 0]
            self.confusion += cells.bincount(minlength=self.classes**2).view(self.classes, self.classes)

    def reduce(self) -> None:
        """Add up what all ranks counted; each of them must ask."""
        for name in ("sums", "per_class", "confusion"):
            setattr(self, name, sum_over_ranks(getattr(self, name), self.device))

    def compute(self) -> Iterator[tuple[str, float]]:
        """acc1 and acc5 in per cent, loss, and images, their number."""
        images, correct, correct5, loss = self.sums.tolist()
        yield "acc1", 100 * correct / images if images else 0.0
        yield "acc5", 100 * correct5 / images if images else 0.0
        yield "loss", loss / images if images else 0.0
        yield "images", images

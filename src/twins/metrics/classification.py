"""Metrics over a whole set, exact over any number of processes."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from ..distributed.collectives import sum_over_ranks

CONFUSION_LIMIT = 1000  # classes; a larger matrix is neither looked at nor cheap


class ClassificationMetrics:
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
            setattr(self, name, sum_over_ranks(getattr(self, name), self.device))

    def compute(self) -> Iterator[tuple[str, float]]:
        samples, right, right5, loss = self.sums.tolist()
        yield "acc1", 100 * right / samples if samples else 0.0
        yield "acc5", 100 * right5 / samples if samples else 0.0
        yield "loss", loss / samples if samples else 0.0
        yield "images", samples

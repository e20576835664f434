"""What is predicted for an image: one kind of prediction for each task. `str(prediction)` is a line for people."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Classified:
    """What a classifier predicts for an image.

    Attributes
    ----------
    classes:
        The names of all classes, in the order of the network's outputs.
    probabilities:
        (classes,) float32 in [0, 1], which add up to 1: the softmax of the logits, on the CPU.
    shown:
        How many classes `top` and `str` name.
    """

    classes: tuple[str, ...]
    probabilities: Tensor
    shown: int = 5

    @property
    def top(self) -> list[tuple[str, float]]:
        """The `shown` likeliest classes, or all if there are fewer: (name, probability in [0, 1]), falling."""
        values, labels = self.probabilities.topk(min(self.shown, len(self.classes)))
        return [(self.classes[label], value) for label, value in zip(labels.tolist(), values.tolist(), strict=True)]

    def __str__(self) -> str:
        return ", ".join(f"{name} {100 * value:.1f} %" for name, value in self.top)


@dataclass(frozen=True, eq=False)
class Segmented:
    """What a segmenter predicts for an image.

    Attributes
    ----------
    classes:
        The names of all classes, in the order of the network's outputs.
    mask:
        (H, W) uint8, the likeliest class of each pixel of the upright image: indices into `classes`, on the CPU.
    """

    classes: tuple[str, ...]
    mask: Tensor

    @property
    def pixels(self) -> Counter[str]:
        """The number of pixels of each class that occurs, by its name."""
        counts = self.mask.flatten().bincount().tolist()
        return Counter({self.classes[label]: count for label, count in enumerate(counts) if count})

    def __str__(self) -> str:
        return ", ".join(shares(self.pixels)[:5])


@dataclass(frozen=True, eq=False)
class Detected:
    """The N objects that a detector finds in an image, by falling score; N may be 0. Tensors are on the CPU.

    Attributes
    ----------
    classes:
        The names of all classes, in the order of the network's outputs; the background is none of them.
    boxes:
        (N, 4) float32: x0, y0, x1, y1 in pixels of the upright image, with 0 <= x0 <= x1 <= W and 0 <= y0 <= y1 <= H.
    scores:
        (N,) float32 in [0, 1].
    labels:
        (N,) int64: indices into `classes`, from 0.
    masks:
        (N, H, W) bool of the upright image; None from a detector of boxes alone.
    """

    classes: tuple[str, ...]
    boxes: Tensor
    scores: Tensor
    labels: Tensor
    masks: Tensor | None

    @property
    def names(self) -> list[str]:
        """The name of each object's class."""
        return [self.classes[label] for label in self.labels]

    def __len__(self) -> int:
        return len(self.labels)

    def __str__(self) -> str:
        return ", ".join(f"{count} x {name}" for name, count in Counter(self.names).most_common()) or "nothing"


@dataclass(frozen=True, eq=False)
class Embedded:
    """The features of an image.

    Attributes
    ----------
    features:
        (C,) float32, C the channels of the network's last stage: the mean over its positions, on the CPU.
    """

    features: Tensor

    def __str__(self) -> str:
        return f"{len(self.features)} features"


def shares(pixels: Counter[str]) -> list[str]:
    """Each class's share of all pixels, in words, falling: ["sky 61.2 %", "sea 38.8 %"]."""
    return [f"{name} {100 * count / pixels.total():.1f} %" for name, count in pixels.most_common()]

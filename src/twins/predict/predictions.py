"""What networks say of an image: one kind of answer for each task. `str(answer)` is a line for people."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Classified:
    """What a classifier says of an image."""

    classes: tuple[str, ...]
    probabilities: Tensor  # (classes,) float32, on the CPU
    shown: int = 5

    @property
    def top(self) -> list[tuple[str, float]]:
        """The likeliest classes with their probabilities, falling; as many as the predictor was to name."""
        values, labels = self.probabilities.topk(min(self.shown, len(self.classes)))
        return [(self.classes[label], value) for label, value in zip(labels.tolist(), values.tolist(), strict=True)]

    def __str__(self) -> str:
        return ", ".join(f"{name} {100 * value:.1f} %" for name, value in self.top)


@dataclass(frozen=True, eq=False)
class Segmented:
    """What a segmenter says of an image."""

    classes: tuple[str, ...]
    mask: Tensor  # (H, W) uint8 of the upright image, on the CPU: places among the classes

    @property
    def pixels(self) -> Counter[str]:
        """How many each class has that occurs."""
        counts = self.mask.flatten().bincount().tolist()
        return Counter({self.classes[label]: count for label, count in enumerate(counts) if count})

    def __str__(self) -> str:
        return ", ".join(shares(self.pixels)[:5])


@dataclass(frozen=True, eq=False)
class Detected:
    """The N objects that a detector finds in an image, best first; tensors are on the CPU."""

    classes: tuple[str, ...]
    boxes: Tensor  # (N, 4) float32 x0, y0, x1, y1 in pixels of the upright image
    scores: Tensor  # (N,) float32
    labels: Tensor  # (N,) int64: places among the classes
    masks: Tensor | None  # (N, H, W) bool of the upright image; None from a detector of boxes alone

    @property
    def names(self) -> list[str]:
        """The class of each object."""
        return [self.classes[label] for label in self.labels]

    def __len__(self) -> int:
        return len(self.labels)

    def __str__(self) -> str:
        return ", ".join(f"{count} x {name}" for name, count in Counter(self.names).most_common()) or "nothing"


def shares(pixels: Counter[str]) -> list[str]:
    """Each class's share of all pixels, in words, falling."""
    return [f"{name} {100 * count / pixels.total():.1f} %" for name, count in pixels.most_common()]

"""The size that an image is brought to, by segmenters and detectors alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # recipes need these classes, and the command line recipes, long before torch
    from torch import Tensor


def fitted_size(size: tuple[int, int], resize: tuple[int, int], factor: float = 1.0) -> tuple[int, int]:
    """(height, width) of an image of `size` = (width, height) once it fits (longest, shortest) times `factor`.

    What it has to fit is cut to whole pixels, and what comes of it rounded, as in the published runs.
    """
    longest, shortest = (max(int(side * factor), 1) for side in resize)
    shrink = min(longest / max(size), shortest / min(size))
    width, height = (max(int(side * shrink + 0.5), 1) for side in size)
    return height, width


def denormalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(N, C, H, W) as the network sees it, back to [0, 1]."""
    import torch

    shape = (1, len(mean), 1, 1)
    return (images.float() * torch.tensor(std).view(shape) + torch.tensor(mean).view(shape)).clamp(0, 1)


@dataclass(frozen=True)
class DetectPreprocessing:
    """How images are made ready wherever a trained detector meets them; stored in its checkpoint."""

    min_size: int = 800  # shortest side that images are resized to,
    max_size: int = 1333  # unless the longest would have more than this
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def of_network(self) -> dict[str, Any]:
        """The same as keywords of the detectors, which make images ready themselves."""
        return {"min_size": self.min_size, "max_size": self.max_size, "image_mean": self.mean, "image_std": self.std}


@dataclass(frozen=True)
class SegmentPreprocessing:
    """How images are made ready wherever a trained segmenter meets them; stored in its checkpoint."""

    resize: tuple[int, int] = (2048, 512)  # longest and shortest side that images are resized to fit
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class ClassifyPreprocessing:
    """How images are made ready wherever a trained network meets them; stored in its checkpoint."""

    img_size: int = 224
    crop_pct: float = 0.875
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

"""From the bytes of an image to what a network sees, and back: one contract for training, evaluation and prediction.

A checkpoint stores its network's preprocessing, so that images are made ready alike wherever the network meets them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from reprlib import repr as shortened
from typing import TYPE_CHECKING, Any, Self

from .errors import TwinsError, nearest

if TYPE_CHECKING:  # recipes need these classes, and the command line recipes, long before torch
    from torch import Tensor

Size = tuple[int, int]  # height, width

_LARGEST = 1e30  # of numbers that images are computed with, whole ones too: float32 goes no further than 3e38
LONGEST_SIDE = 16384  # pixels: more would be a gigabyte of floats in one image, whatever claims it

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of red, green and blue in [0, 1]
IMAGENET_STD = (0.229, 0.224, 0.225)


def rectangle(img_size: int | Sequence[int]) -> Size:
    """(height, width) of a square by its side, or of a rectangle by both."""
    height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
    return height, width


def fitted_size(size: Size, resize: tuple[int, int], factor: float = 1.0) -> Size:
    """The size of an image of `size` once it fits `resize` = (longest side, shortest side) times `factor`.

    What it has to fit is cut to whole pixels, and what comes of it rounded, as in the published runs.
    """
    longest, shortest = (max(int(side * factor), 1) for side in resize)
    shrink = min(longest / max(size), shortest / min(size))
    height, width = (max(int(side * shrink + 0.5), 1) for side in size)
    return height, width


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST


def _check_sides(name: str, sides: object, count: int = 1) -> None:
    """Raises TwinsError unless these are so many sides of an image, in pixels."""
    if (
        not isinstance(sides, tuple)
        or len(sides) != count
        or not all(type(n) is int and 1 <= n <= LONGEST_SIDE for n in sides)
    ):
        raise TwinsError(f"preprocessing: {name} must be between 1 and {LONGEST_SIDE} pixels, not {shortened(sides)}")


class Preprocessing:
    """What the three tasks share: a mean and a standard deviation for each channel, of images in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def to_float(self, pixels: Tensor) -> Tensor:
        """(..., C, H, W) uint8 in 0..255 -> contiguous float32 in [0, 1], by division, as torchvision's ToTensor."""
        import torch

        return pixels.to(torch.float32, memory_format=torch.contiguous_format).div_(255)

    def normalise(self, pixels: Tensor) -> Tensor:
        """(..., C, H, W) uint8 in 0..255 -> contiguous float32, (x - mean) / std with x = `to_float(pixels)`."""
        import torch

        mean, std = (torch.tensor(values, device=pixels.device)[:, None, None] for values in (self.mean, self.std))
        return self.to_float(pixels).sub_(mean).div_(std)

    def denormalise(self, images: Tensor) -> Tensor:
        """(..., C, H, W) as `normalise` makes them -> float32 in [0, 1], to be drawn; what lies outside is clipped."""
        import torch

        mean, std = (torch.tensor(values, device=images.device)[:, None, None] for values in (self.mean, self.std))
        return (images.float() * std + mean).clamp(0, 1)

    def to_dict(self) -> dict[str, Any]:
        """The fields, as a checkpoint stores them."""
        return asdict(self)  # type: ignore[call-overload]  # every subclass is a dataclass

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """What `to_dict` stored, also where a file format has made lists of its tuples.

        Raises TwinsError for a field that is not there, and for values by which no image can be made ready.
        """
        known = cls.__dataclass_fields__  # type: ignore[attr-defined]  # every subclass is a dataclass
        for name in fields:
            if name not in known:
                raise TwinsError(f"preprocessing has no {shortened(name)}{nearest(str(name), list(known))}")
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()})

    def __post_init__(self) -> None:
        """Raises TwinsError for values by which no image can be made ready."""
        for name in ("mean", "std"):
            numbers = getattr(self, name)
            if not isinstance(numbers, tuple) or not numbers or not all(_is_number(number) for number in numbers):
                raise TwinsError(f"preprocessing: {name} takes a number for each channel, not {shortened(numbers)}")
        if len(self.mean) != len(self.std) or not all(self.std):
            raise TwinsError("preprocessing: mean and std take a number for each channel, std none that is 0")


@dataclass(frozen=True)
class ClassifyPreprocessing(Preprocessing):
    """Of classifiers: as small as covers `size` / crop_pct, bicubic, and the square or rectangle in the middle."""

    img_size: int | Size = 224  # side of the square, or height and width of the rectangle, in pixels
    crop_pct: float = 0.875  # its share of what the resized image covers: of a square's, of the short side
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def __post_init__(self) -> None:
        super().__post_init__()
        sides = self.img_size if isinstance(self.img_size, tuple) else (self.img_size,)
        _check_sides("img_size", sides, count=min(len(sides), 2) or 1)
        if not _is_number(self.crop_pct) or not max(sides) <= LONGEST_SIDE * self.crop_pct <= LONGEST_SIDE * 2:
            raise TwinsError(
                f"preprocessing: crop_pct must be a share of the resized image, not {shortened(self.crop_pct)}"
            )

    @property
    def size(self) -> Size:
        """What the network sees, (height, width) in pixels."""
        return rectangle(self.img_size)


@dataclass(frozen=True)
class SegmentPreprocessing(Preprocessing):
    """Of segmenters: as large as fits into two sides, bilinear without antialias."""

    resize: tuple[int, int] = (2048, 512)  # longest and shortest side in pixels
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_sides("resize", self.resize, count=2)

    def to_float(self, pixels: Tensor) -> Tensor:
        """As `Preprocessing.to_float`, but by multiplication with 1 / 255, as torchvision's to_dtype.

        The two differ in the last bit for 126 of the 256 values; segmenters of ours were trained by this one.
        """
        import torch

        return pixels.to(torch.float32, memory_format=torch.contiguous_format).mul_(1 / 255)


@dataclass(frozen=True)
class DetectPreprocessing(Preprocessing):
    """Of detectors: as large as fits into two sides, bilinear without antialias."""

    min_size: int = 800  # shortest side in pixels,
    max_size: int = 1333  # unless the longest would have more than this
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_sides("min_size and max_size", (self.min_size, self.max_size), count=2)

    def of_network(self) -> dict[str, Any]:
        """The same as keywords of the detectors, which resize and normalise images in [0, 1] themselves."""
        return {"min_size": self.min_size, "max_size": self.max_size, "image_mean": self.mean, "image_std": self.std}

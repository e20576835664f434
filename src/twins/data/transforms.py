"""From a decoded picture to the tensor that a network sees: the published augmentation, and the one preprocessing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from PIL import Image
from torch import Tensor
from torchvision import transforms

from ..extras import need
from ..recipes import ClassifyRecipe

Transform = Callable[[Image.Image], Tensor]
SMALL = 32  # up to this side pictures are neither resized by the short side nor cropped, as for CIFAR


@dataclass(frozen=True)
class Preprocessing:
    """How pictures are made ready wherever a trained network meets them; stored in its checkpoint."""

    img_size: int = 224
    crop_pct: float = 0.875
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)

    @classmethod
    def of(cls, recipe: ClassifyRecipe) -> Preprocessing:
        return cls(recipe.img_size, recipe.crop_pct, tuple(recipe.mean), tuple(recipe.std))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def eval_transform(preprocessing: Preprocessing) -> Transform:
    """Short side to size / crop_pct (256 for 224), bicubic, centre crop; at 32 pixels and below neither."""
    size = preprocessing.img_size
    if size > SMALL:
        steps = [
            transforms.Resize(int(size / preprocessing.crop_pct), transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(size),
        ]
    else:
        steps = [_FitSquare(size)]
    steps += [transforms.ToTensor(), transforms.Normalize(preprocessing.mean, preprocessing.std)]
    return transforms.Compose(steps)


def train_transform(recipe: ClassifyRecipe) -> Transform:
    """The published augmentation, from timm, by the recipe's numbers."""
    augment = need("timm.data", extra="train").create_transform(
        input_size=recipe.img_size,
        is_training=True,
        scale=recipe.scale,
        ratio=recipe.ratio,
        hflip=recipe.hflip,
        vflip=recipe.vflip,
        color_jitter=recipe.color_jitter,
        auto_augment=recipe.aa,
        interpolation=recipe.train_interpolation,
        mean=recipe.mean,
        std=recipe.std,
        re_prob=recipe.reprob,
        re_mode=recipe.remode,
        re_count=recipe.recount,
    )
    if recipe.degrees or recipe.shear or recipe.zoom:
        zoom = (1 - recipe.zoom, 1 + recipe.zoom)
        bilinear = transforms.InterpolationMode.BILINEAR
        augment.transforms.insert(1, transforms.RandomAffine(recipe.degrees, None, zoom, recipe.shear, bilinear))
    if recipe.img_size <= SMALL:
        size = recipe.img_size
        shift = transforms.RandomCrop(size, padding=recipe.crop_padding)
        augment.transforms[0] = transforms.Compose([_FitSquare(size), shift])
    return augment


class OfPictureAlone:
    """A transform of pictures, where a picture comes with its label."""

    def __init__(self, transform: Transform) -> None:
        self.transform = transform

    def __call__(self, picture: Image.Image, label: int) -> tuple[Tensor, int]:
        return self.transform(picture), label


class _FitSquare:
    """Resize to a square, unless the picture is that square already."""

    def __init__(self, size: int) -> None:
        self.size = (size, size)

    def __call__(self, image: Image.Image) -> Image.Image:
        return image if image.size == self.size else image.resize(self.size, Image.Resampling.BICUBIC)

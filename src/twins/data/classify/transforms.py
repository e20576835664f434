"""From an image to the normalised (C, H, W) float32 tensor that a classifier takes: in training, and in evaluation."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms

from ...optional_dependencies import need
from ...preprocessing import ClassifyPreprocessing, Size
from ...recipes import ClassifyRecipe
from ..images import size_of
from .fast_shear import use_fast_shear
from .partial_jpeg import JpegImage

Transform = Callable[[Any], Tensor]  # of a PIL image, or of a JpegImage where it says so
SMALL = 32  # where no side is longer images are neither resized by the short side nor cropped, as for CIFAR


def eval_transform(preprocessing: ClassifyPreprocessing) -> Transform:
    """As small as covers size / crop_pct, bicubic, centre crop; at 32 pixels and below neither.

    For a square that is the short side to size / crop_pct (256 for 224). Takes a JpegImage too, if `takes_jpeg`.
    """
    height, width = preprocessing.size
    if max(height, width) > SMALL:
        steps = [_Covering(_covered(preprocessing)), transforms.CenterCrop((height, width))]
    else:
        steps = [_Fit((height, width))]
    return transforms.Compose([*steps, _Normalised(preprocessing)])


def takes_jpeg(size: Size, channels: int) -> bool:
    """Whether images of this size and so many channels can be made of a JpegImage."""
    return channels == 3 and max(size) > SMALL


def seen_part(preprocessing: ClassifyPreprocessing, size: Size) -> tuple[Size, Size]:
    """To what size `eval_transform` resizes an image of `size`, and where in that its crop begins, (top, left)."""
    height, width = preprocessing.size
    if max(height, width) <= SMALL:
        return (height, width), (0, 0)
    resized = covering_size(size, _covered(preprocessing))
    return resized, (round((resized[0] - height) / 2), round((resized[1] - width) / 2))


def _covered(preprocessing: ClassifyPreprocessing) -> Size:
    """What a resized image covers at least, (height, width), before its middle is cut out."""
    height, width = preprocessing.size
    return int(height / preprocessing.crop_pct), int(width / preprocessing.crop_pct)


def train_transform(recipe: ClassifyRecipe, turbo: bool = False) -> Transform:
    """The published augmentation, from timm, by the recipe's numbers.

    With `turbo`, for colour images of more than 32 pixels a side, it draws the same random numbers, takes a JpegImage
    too, and computes some of the pixels faster.
    """
    height, width = recipe.size
    augment = need("timm.data", extra="train").create_transform(
        input_size=(height, width),
        is_training=True,
        scale=recipe.scale,
        ratio=tuple(ratio * (width / height) for ratio in recipe.ratio),
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
    fix_posterize(augment.transforms)
    if turbo:
        _use_fast_steps(augment.transforms, recipe)
    if recipe.degrees or recipe.shear or recipe.zoom:
        zoom = (1 - recipe.zoom, 1 + recipe.zoom)
        bilinear = transforms.InterpolationMode.BILINEAR
        augment.transforms.insert(1, transforms.RandomAffine(recipe.degrees, None, zoom, recipe.shear, bilinear))
    if max(height, width) <= SMALL:
        shift = transforms.RandomCrop((height, width), padding=recipe.crop_padding)
        augment.transforms[0] = transforms.Compose([_Fit((height, width)), shift])
    return augment


def _use_fast_steps(steps: list[Any], recipe: ClassifyRecipe) -> None:
    """Replace timm's crop, shears and shifts, and the normalisation by faster ones."""
    steps[0] = _RandomCrop(steps[0])
    for operation in _operations(steps):
        use_fast_shear(operation)
    normalize = next(index for index, step in enumerate(steps) if isinstance(step, transforms.Normalize))
    steps[normalize - 1 : normalize + 1] = [_Normalised(recipe.preprocessing())]


def fix_posterize(steps: list[Any]) -> None:
    """Let timm's operations keep no bits at all, which makes a black image: newer versions of Pillow refuse that.

    RandAugment with increasing strength asks for it now and then, so that a long run would stop.
    """
    for operation in _operations(steps):
        if operation.name.startswith("Posterize"):
            operation.aug_fn = partial(_posterize, operation.aug_fn)


def _posterize(operation: Callable[..., Image.Image], image: Image.Image, bits: int, **options: Any) -> Image.Image:
    return operation(image, bits, **options) if bits > 0 else Image.new(image.mode, image.size)


def _operations(steps: list[Any]) -> Iterator[Any]:
    """The operations in timm's RandAugment, AugMix and AutoAugment."""
    for step in steps:
        yield from getattr(step, "ops", ())
        for policy in getattr(step, "policy", ()):
            yield from policy


class ImageOnly:
    """A transform of images, where an image comes with its label."""

    def __init__(self, transform: Transform) -> None:
        self.transform = transform

    def __call__(self, image: Image.Image, label: int) -> tuple[Tensor, int]:
        return self.transform(image), label


class _Fit:
    """Resize to (height, width), unless the image has that size already."""

    def __init__(self, size: Size) -> None:
        self.size = size[::-1]  # as Pillow has it

    def __call__(self, image: Image.Image) -> Image.Image:
        return image if image.size == self.size else image.resize(self.size, Image.Resampling.BICUBIC)


class _Covering:
    """Resize, bicubic, to the smallest size of the same shape that covers (height, width)."""

    def __init__(self, covered: Size) -> None:
        self.covered = covered

    def __call__(self, image: Image.Image | JpegImage) -> Image.Image | Tensor:
        if isinstance(image, JpegImage):
            return image.resized_pixels(covering_size(image.size, self.covered))
        size = covering_size(size_of(image), self.covered)
        return transforms.functional.resize(image, list(size), transforms.InterpolationMode.BICUBIC)


def covering_size(size: Size, covered: Size) -> Size:
    """One side as `covered` has it, and the other, in proportion and cut to whole pixels, no shorter than there."""
    (height, width), (least_height, least_width) = size, covered
    if height * least_width <= width * least_height:
        return least_height, max(int(least_height * width / height), least_width)
    return max(int(least_width * height / width), least_height), least_width


class _RandomCrop:
    """timm's random crop, which draws its position and size; of a JpegImage only that part is resized."""

    def __init__(self, crop: Any) -> None:
        self.crop = crop

    def __call__(self, image: Image.Image | JpegImage) -> Image.Image:
        if isinstance(image, Image.Image):
            return self.crop(image)
        crop = self.crop
        without_pixels = torch.empty(3, *image.size, device="meta")  # get_params only asks for its size
        top, left, height, width = crop.get_params(without_pixels, crop.scale, crop.ratio)
        modes = crop.interpolation
        mode = random.choice(modes) if isinstance(modes, tuple | list) else modes
        return image.resized(crop.size, (left, top, left + width, top + height), mode.value)


class _Normalised:
    """ToTensor and Normalize of torchvision in one, with the same output to the last bit and fewer copies."""

    def __init__(self, preprocessing: ClassifyPreprocessing) -> None:
        self.preprocessing = preprocessing

    def __call__(self, image: Image.Image | Tensor) -> Tensor:
        return self.preprocessing.normalise(image if isinstance(image, Tensor) else _pixels_of(image))


def _pixels_of(image: Image.Image) -> Tensor:
    """(C, H, W) uint8, not contiguous."""
    pixels = np.array(image)
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1)

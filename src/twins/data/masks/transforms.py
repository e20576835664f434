"""From an image and its mask to what a segmenter sees: the published augmentation, and the one preprocessing.

The pipeline is the one that the paper's segmentation runs share with Swin's and PVT's. A mask is an (H, W) uint8
tensor, a class each; IGNORED is none. All randomness is torch's, which the caller seeds by the sample's key.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from ...errors import TwinsError
from ...preprocessing import SegmentPreprocessing, Size, fitted_size
from ...recipes import SegmentRecipe, two_positive
from ..images import size_of, width_x_height
from .decoding import IGNORED

RETRIES = 10

MaskTransform = Callable[[Image.Image, Tensor], tuple[Tensor, Tensor]]
MaskViews = Callable[[Image.Image, Tensor], tuple[tuple[Tensor, ...], Tensor]]


def mask_train_transform(recipe: SegmentRecipe) -> MaskTransform:
    """A PIL image and its mask to (C, S, S) floats and (S, S) int64 labels, S = img_size.

    Resized to fit times a random factor, cropped, mirrored, distorted, normalised, and filled up on the right and below
    with 0 and IGNORED. Raises TwinsError for a --resize or --scale that is not two positive numbers.
    """
    return partial(_train_view, recipe, recipe.preprocessing(), two_positive("--scale", recipe.scale))


def mask_eval_transform(preprocessing: SegmentPreprocessing, scales: Sequence[float] = (1.0,)) -> MaskViews:
    """A PIL image and its mask to one normalised (C, h, w) view for each scale, and the mask as it is.

    Raises TwinsError for --test-scales that are not positive.
    """
    if not scales or min(scales) <= 0:
        raise TwinsError(f"--test-scales takes one positive number or more, not {_listed(scales) or 'none'}")
    return partial(_eval_views, preprocessing, scales)


def crop_error(recipe: SegmentRecipe, sizes: Sequence[Size]) -> str | None:
    """The error message if no image of these sizes fills a crop either way even at the largest factor, else None."""
    longest, shortest = recipe.preprocessing().resize
    most = two_positive("--scale", recipe.scale)[1]
    if any(max(fitted_size(size, (longest, shortest), most)) >= recipe.img_size for size in sizes) or not sizes:
        return None
    largest = max(sizes, key=math.prod)
    resized = fitted_size(largest, (longest, shortest), most)
    return (
        f"--img-size {recipe.img_size} is larger than any image: the largest, {width_x_height(largest)}, is at "
        f"most {width_x_height(resized)} after resizing; raise --resize ({longest} {shortest}) or --scale "
        f"(up to {most:g}), or lower --img-size and give --resize {longest} {shortest} with it"
    )


def photometric_distortion(image: Tensor) -> Tensor:
    """(C, H, W) bytes, of another brightness, contrast, saturation and hue, each by chance; grey has no last two.

    Contrast comes before or after the colours by another coin, as in SSD (https://arxiv.org/abs/1512.02325).
    """
    contrast = (scale_contrast, 0.5, 1.5)
    colours = [(scale_saturation, 0.5, 1.5), (F.adjust_hue, -0.1, 0.1)]  # both leave grey as it is
    order = [contrast, *colours] if _chance(0.5) else [*colours, contrast]
    for distort, low, high in [(add_brightness, -32, 32), *order]:
        if _chance(0.5):
            image = distort(image, _uniform(low, high))
    return image


def add_brightness(image: Tensor, amount: float) -> Tensor:
    """Bytes, `amount` grey levels brighter."""
    return _to_bytes(image.float() + amount)


def scale_contrast(image: Tensor, factor: float) -> Tensor:
    """Bytes, multiplied: contrast around black, not around the mean."""
    return _to_bytes(image.float() * factor)


def scale_saturation(image: Tensor, factor: float) -> Tensor:
    """Bytes with S of HSV times `factor`, at most 1; H and V stay.

    With V fixed, S scales every channel's distance from the largest one alike.
    """
    value, least = image.amax(0, keepdim=True), image.amin(0, keepdim=True)
    # No channel may fall below 0, which the smallest reaches as S reaches 1. Grey has no distances to scale.
    factors = (value / (value - least).clamp(min=1)).clamp(max=factor)
    return _to_bytes(value - factors * (value - image))


def _train_view(
    recipe: SegmentRecipe, preprocessing: SegmentPreprocessing, scale: list[Any], image: Image.Image, mask: Tensor
) -> tuple[Tensor, Tensor]:
    height, width = fitted_size(size_of(image), preprocessing.resize, _uniform(*scale))
    labels = F.resize(mask[None], [height, width], InterpolationMode.NEAREST)[0]
    rows, columns = _varied_crop(labels, recipe.img_size, recipe.cat_max_ratio)
    labels = labels[rows, columns]
    pixels = _resized(F.pil_to_tensor(image), height, width)[:, rows, columns]
    for axis, chance in ((-1, recipe.hflip), (-2, recipe.vflip)):
        if _chance(chance):
            pixels, labels = pixels.flip(axis), labels.flip(axis)
    if recipe.photometric:
        pixels = photometric_distortion(pixels)
    missing = (0, recipe.img_size - labels.shape[1], 0, recipe.img_size - labels.shape[0])
    return pad(preprocessing.normalise(pixels), missing), pad(labels.long(), missing, value=IGNORED)


def _eval_views(
    preprocessing: SegmentPreprocessing, scales: Sequence[float], image: Image.Image, mask: Tensor
) -> tuple[tuple[Tensor, ...], Tensor]:
    pixels = F.pil_to_tensor(image)
    sizes = [fitted_size(size_of(image), preprocessing.resize, scale) for scale in scales]
    return tuple(preprocessing.normalise(_resized(pixels, *size)) for size in sizes), mask


def _resized(pixels: Tensor, height: int, width: int) -> Tensor:
    """Bilinear without antialias, which samples where OpenCV does, by which the published networks learned."""
    return F.resize(pixels, [height, width], antialias=False)


def _varied_crop(labels: Tensor, size: int, cat_max_ratio: float) -> tuple[slice, slice]:
    """Rows and columns of a random square, drawn again up to RETRIES times while one class fills too much of it."""
    crop = _any_crop(labels, size)
    for _ in range(RETRIES if cat_max_ratio < 1 else 0):
        if _is_varied(labels[crop], cat_max_ratio):
            break
        crop = _any_crop(labels, size)
    return crop


def _any_crop(labels: Tensor, size: int) -> tuple[slice, slice]:
    """A square of `size`, each position as likely; all there is on an axis that is shorter."""
    top, left = (int(torch.randint(max(side - size, 0) + 1, ())) for side in labels.shape)
    return slice(top, top + size), slice(left, left + size)


def _is_varied(labels: Tensor, cat_max_ratio: float) -> bool:
    """Some pixels have a class, and no class fills so much of them."""
    counts = labels.flatten().bincount(minlength=256)[:IGNORED]
    return bool(counts.max() < cat_max_ratio * counts.sum())


def _to_bytes(levels: Tensor) -> Tensor:
    return levels.round().clamp(0, 255).to(torch.uint8)


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * torch.rand(()).item()


def _chance(probability: float) -> bool:
    return torch.rand(()).item() < probability


def _listed(values: Sequence[float]) -> str:
    return " ".join(map(str, values))

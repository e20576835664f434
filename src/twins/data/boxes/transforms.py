"""From an image and its objects to what a detector sees: the published augmentation, and the one preprocessing.

The published runs follow Swin's and PVT's: mirrored by chance, cropped by chance, resized to fit. A target is a dict of
`boxes`, (N, 4) float32 x0, y0, x1, y1 in pixels, `labels`, (N,) int64, and, where the data has them, `masks`,
`ObjectMasks` of the whole image that become (N, H, W) uint8 of 0 and 1, and `has_mask`, (N,) bool. All randomness is
torch's, which the caller seeds by the sample's key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from ...preprocessing import fitted_size
from ...recipes import DetectRecipe

ROUNDING = 0.01  # pixels: of a box that only touches the image, no more than this lies inside

Target = dict[str, Any]
BoxTransform = Callable[[Image.Image, Target], tuple[Tensor, Target]]


def box_train_transform(recipe: DetectRecipe) -> BoxTransform:
    """A PIL image and its target to (C, H, W) bytes, as large as the network is to train on, and the target with it.

    Mirrored, cropped and resized; objects with nothing left inside the image are dropped. Raises TwinsError for sizes
    that no image can have.
    """
    recipe.check_shortest_side("--img-size", recipe.img_size)
    recipe.check_shortest_side("--train-sizes", max(recipe.train_sizes or (0,)))
    if recipe.train_sizes is None:
        recipe.check_shortest_side("--scale", int(max(recipe.scale) * recipe.img_size))
    return partial(_train_view, recipe)


def box_eval_transform(image: Image.Image, target: Target) -> tuple[Tensor, Target]:
    """A PIL image to (C, H, W) bytes, of its own size, and the target as it is."""
    return F.pil_to_tensor(image), target


class _View(NamedTuple):
    """An image with its boxes, moved so far; of its masks, which rows and columns are seen.

    Each pixel of a moved mask is one of the mask's own, so that the masks, many times larger than the image, are
    rasterised once, after all the steps, and no more of them than is seen.
    """

    pixels: Tensor  # (C, H, W) bytes
    boxes: Tensor  # (N, 4), perhaps reaching beyond the image
    rows: np.ndarray  # (H,)
    columns: np.ndarray  # (W,)

    @classmethod
    def of(cls, image: Image.Image, boxes: Tensor) -> _View:
        return cls(F.pil_to_tensor(image), boxes, np.arange(image.height), np.arange(image.width))

    def mirrored(self) -> _View:
        x0, y0, x1, y1 = self.boxes.unbind(1)
        width = len(self.columns)
        boxes = torch.stack((width - x1, y0, width - x0, y1), dim=1)
        return _View(self.pixels.flip(2), boxes, self.rows, self.columns[::-1])

    def upside_down(self) -> _View:
        x0, y0, x1, y1 = self.boxes.unbind(1)
        height = len(self.rows)
        boxes = torch.stack((x0, height - y1, x1, height - y0), dim=1)
        return _View(self.pixels.flip(1), boxes, self.rows[::-1], self.columns)

    def resized(self, longest: int, shortest: int) -> _View:
        """Fitting both; bilinear without antialias, which samples where OpenCV does. Rows and columns are nearest."""
        old_height, old_width = self.pixels.shape[1:]
        height, width = fitted_size((old_height, old_width), (longest, shortest))
        return _View(
            F.resize(self.pixels, [height, width], antialias=False),
            self.boxes * torch.tensor([width / old_width, height / old_height] * 2),
            self.rows[np.arange(height) * old_height // height],
            self.columns[np.arange(width) * old_width // width],
        )

    def cropped(self, least: int, largest: int) -> _View:
        """Rows and columns each of a random number in this range, as far as there are so many, at a random position."""
        top, bottom = _span(len(self.rows), least, largest)
        left, right = _span(len(self.columns), least, largest)
        return _View(
            self.pixels[:, top:bottom, left:right],
            self.boxes - torch.tensor([left, top] * 2),
            self.rows[top:bottom],
            self.columns[left:right],
        )

    def of_target(self, target: Target) -> Target:
        """What is seen of the whole image's target: boxes cut to the view, labels, and masks."""
        boxes = self.boxes.clamp(min=0).minimum(torch.tensor([len(self.columns), len(self.rows)] * 2))
        seen = (boxes[:, 2:] - boxes[:, :2] > ROUNDING).all(1)
        moved: Target = {name: target[name][seen] for name in ("labels", "has_mask") if name in target}
        moved["boxes"] = boxes[seen]
        if "masks" in target:
            which = seen.nonzero()[:, 0].tolist()
            moved["masks"] = torch.from_numpy(target["masks"].seen(self.rows, self.columns, which))
        return moved


def _train_view(recipe: DetectRecipe, image: Image.Image, target: Target) -> tuple[Tensor, Target]:
    view = _View.of(image, target["boxes"])
    if torch.rand(()) < recipe.hflip:
        view = view.mirrored()
    if torch.rand(()) < recipe.vflip:
        view = view.upside_down()
    if torch.rand(()) < recipe.crop_prob:
        view = view.resized(recipe.longest_side, _any_of(recipe.crop_sizes))
        view = view.cropped(min(recipe.crop), max(recipe.crop))
    view = view.resized(recipe.longest_side, _shortest_side(recipe))
    return view.pixels, view.of_target(target)


def _shortest_side(recipe: DetectRecipe) -> int:
    """One of the sizes that are listed, or any between the factors of IMG_SIZE."""
    if recipe.train_sizes is not None:
        return _any_of(recipe.train_sizes)
    return _any_from(*(max(int(recipe.img_size * factor), 1) for factor in sorted(recipe.scale)))


def _span(side: int, least: int, largest: int) -> tuple[int, int]:
    """Start and end of a random piece of a side, between `least` and `largest` long where the side is."""
    length = _any_from(min(side, least), min(side, largest))
    start = _any_from(0, side - length)
    return start, start + length


def _any_from(first: int, last: int) -> int:
    return int(torch.randint(first, last + 1, ()))


def _any_of(sizes: Sequence[int]) -> int:
    return sizes[_any_from(0, len(sizes) - 1)]

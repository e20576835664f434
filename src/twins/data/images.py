"""A labelled set of images, and how one image is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from ..errors import TwinsError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif")
# What Pillow's decoders raise on broken files: there is no common class.
BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, Image.DecompressionBombError)
_MODES = {1: "L", 3: "RGB"}


class UnreadableImageError(Exception):
    """An image that cannot be decoded; str() says which and why."""


@dataclass(frozen=True)
class ImageSet:
    """Images, one label each, and the names of the classes that labels count.

    An image is a file, or an (H, W) or (H, W, 3) array of bytes.
    """

    images: Sequence[Path] | np.ndarray
    labels: Sequence[int]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        image = self.images[index]
        return str(image) if isinstance(image, Path) else f"image {index}"

    @property
    def in_memory(self) -> bool:
        return isinstance(self.images, np.ndarray)

    def read(self, index: int, channels: int) -> tuple[Image.Image, int]:
        """The image as from `open`, and its label."""
        return self.open(index, channels), self.labels[index]

    def open(self, index: int, channels: int) -> Image.Image:
        """The image as a PIL image of 1 or 3 channels. Raises UnreadableImageError."""
        image = self.images[index]
        if isinstance(image, Path):
            return read_image(image, channels)
        return Image.fromarray(image).convert(_MODES[channels])

    def relabelled(self, classes: tuple[str, ...]) -> ImageSet:
        """The same images, their labels counted in `classes`. Raises TwinsError for a class that is not there."""
        for name in self.classes:
            if name not in classes:
                raise TwinsError(f"class {name!r} of the data is not among the {len(classes)} that the network knows")
        place = [classes.index(name) for name in self.classes]
        return ImageSet(self.images, [place[label] for label in self.labels], classes)

    def subset(self, indices: Sequence[int]) -> ImageSet:
        images = self.images
        if isinstance(images, np.ndarray):
            kept: Sequence[Path] | np.ndarray = images[list(indices)]
        else:
            kept = [images[i] for i in indices]
        return ImageSet(kept, [self.labels[i] for i in indices], self.classes)


def read_image(path: Path, channels: int = 3) -> Image.Image:
    """Decode a file to 1 (grey) or 3 (RGB) channels, turned upright by its EXIF tag.

    Raises UnreadableImageError for a file that is missing, truncated, corrupt or no image, TwinsError for a number of
    channels that images do not have.
    """
    if channels not in _MODES:
        raise TwinsError(f"images can be read with 1 or 3 channels (in_chans), not {channels}")
    try:
        with Image.open(path) as image:
            image.load()
            ImageOps.exif_transpose(image, in_place=True)  # copies of large images take as long as decoding them
            return image if image.mode == _MODES[channels] else image.convert(_MODES[channels])
    except BROKEN as error:
        raise UnreadableImageError(f"{path}: {error or type(error).__name__}") from error


def upright_size(path: Path) -> tuple[int, int]:
    """(width, height) of an image as `read_image` turns it, from the file's head. Raises UnreadableImageError."""
    try:
        with Image.open(path) as image:
            # Not image.getexif(): for PNG that decodes every pixel, in case a tag comes behind them.
            orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation)
            width, height = image.size
            turned = orientation in (5, 6, 7, 8) and image.format != "TIFF"  # which Pillow turns by itself
    except BROKEN as error:
        raise UnreadableImageError(f"{path}: {error or type(error).__name__}") from error
    return (height, width) if turned else (width, height)

"""JPEG files that are decoded once it is known what of them is needed, and at which size.

The stored frequencies of a JPEG file give the image at a half, a quarter or an eighth of its size for less work than
the whole. So a file is only opened here; who knows the crop and its final size then asks for those pixels.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import ExifTags, Image

from ...optional_dependencies import need
from ..images import BROKEN, ImageSet, UnreadableImageError, read_image
from .jpeg_header import ending_after, plain_size

# A reduced image keeps at least so many pixels for each one that is asked for, so that the final resizing still
# decides what is seen: the mean difference from the whole image, resized, is then below 1 of 255.
SPARE = 2
REDUCTIONS = (8, 4, 2)  # those that the decoder has quick forms of
# Where an image is decoded whole and then shrunk so many times, two pixels may share their colour, which the file has
# once for both: resizing smooths it. (Rounding frequencies, the decoder's other shortcut, is seen: 1.2 of 255.)
ROUGH = 1.5
MARGIN = 16  # rows below the crop, from which its last ones take colour: two rows where four share one, at an eighth
JPEG_SUFFIXES = (".jpg", ".jpeg")
_FORMATS = ("JPEG", "MPO")  # MPO: what cameras write that put several images into a file

Box = tuple[int, int, int, int]  # left, top, right, bottom


class JpegImage:
    """An upright colour image of (width, height) `size`, not decoded yet."""

    def __init__(self, path: Path, content: bytes, size: tuple[int, int]) -> None:
        self.path, self.content, self.size = path, content, size

    def resized(self, size: tuple[int, int], box: Box | None = None, interpolation: str = "bicubic") -> Image.Image:
        """The part in `box`, or all of it, as an RGB image of (width, height) `size`.

        `interpolation` is bicubic or bilinear, widened where it shrinks, as Pillow's. Raises UnreadableImageError.
        """
        box = box or (0, 0, *self.size)
        try:
            pixels, reduction = self._decoded(size, box)
        except ValueError:  # Pillow forgives some faults, and names the others
            resampling = Image.Resampling[interpolation.upper()]
            return read_image(self.path).resize(size, resampling, box)
        left, top, right, bottom = (round(edge / reduction) for edge in box)
        part_HWC = torch.from_numpy(pixels)[top : max(bottom, top + 1), left : max(right, left + 1)]
        wanted = F.interpolate(part_HWC.permute(2, 0, 1)[None], size[::-1], mode=interpolation, antialias=True)
        # The answer lies in planes; Pillow joins them quicker than it reads pixels that are not side by side.
        return Image.merge("RGB", [Image.fromarray(plane_HW) for plane_HW in wanted[0].numpy()])

    def _decoded(self, size: tuple[int, int], box: Box) -> tuple[np.ndarray, int]:
        """(H, W, 3) bytes, reduced as far as `box` allows, and by how much. Raises ValueError for a damaged file."""
        shrinkage = min((box[2] - box[0]) / size[0], (box[3] - box[1]) / size[1])
        reduction = reduction_for(shrinkage)
        width, height = self.size
        needed = box[3] + MARGIN
        shortened = ending_after(self.content, needed) if needed < height else None
        pixels = need("simplejpeg", extra="turbo").decode_jpeg(
            shortened or self.content,
            min_height=-(-(needed if shortened else height) // reduction),
            min_width=-(-width // reduction),
            fastupsample=reduction == 1 and shrinkage >= ROUGH,
            strict=shortened is None,  # else it would complain of the rows that are left over
        )
        return pixels, reduction


def reduction_for(shrinkage: float) -> int:
    """1, 2, 4 or 8: how many times smaller an image may be decoded that is then to be `shrinkage` times smaller."""
    return next((reduction for reduction in REDUCTIONS if shrinkage >= SPARE * reduction), 1)


class OpenedImages:
    """Labelled images whose colour JPEG files are opened only, for transforms that take a `JpegImage` as well."""

    def __init__(self, images: ImageSet) -> None:
        self.images, self.in_memory, self.name = images, images.in_memory, images.name

    def __len__(self) -> int:
        return len(self.images)

    def read(self, index: int, channels: int) -> tuple[Image.Image | JpegImage, int]:
        """The image and its label. Raises UnreadableImageError, for a JPEG file perhaps only once it is decoded."""
        image = self.images.images[index]
        if channels == 3 and isinstance(image, Path) and image.suffix.lower() in JPEG_SUFFIXES:
            return open_jpeg(image), self.images.labels[index]
        return self.images.read(index, channels)


def open_jpeg(path: Path) -> JpegImage | Image.Image:
    """A JPEG file in colour, to be decoded later; decoded by Pillow at once if it is anything else, or to be turned.

    Raises UnreadableImageError.
    """
    try:
        content = path.read_bytes()
        size = _bearable(plain_size(content)) or _upright_size(content)
    except OSError as error:
        raise UnreadableImageError(f"{path}: {error}") from error
    return read_image(path) if size is None else JpegImage(path, content, size)


def _bearable(size: tuple[int, int] | None) -> tuple[int, int] | None:
    """Pillow warns of images of too many pixels, and refuses some."""
    most = Image.MAX_IMAGE_PIXELS
    return size if size is None or most is None or size[0] * size[1] <= most else None


def _upright_size(content: bytes) -> tuple[int, int] | None:
    """(width, height) of an upright colour JPEG, as Pillow tells after a longer look; None for what it is to decode."""
    try:
        with Image.open(BytesIO(content)) as image:
            upright = image.getexif().get(ExifTags.Base.Orientation, 1) == 1
            return image.size if upright and image.mode == "RGB" and image.format in _FORMATS else None
    except BROKEN:
        return None

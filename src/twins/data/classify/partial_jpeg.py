"""JPEG files that are decoded once it is known which part of them is needed, and at which size.

The DCT coefficients of a JPEG file give the image at a half, a quarter or an eighth of its size for less work than the
whole. So a file is only read here; the transform, which knows the crop and its final size, then asks for those pixels.
"""

from __future__ import annotations

from io import BytesIO

import numpy as np
import torch
import torch.nn.functional as F
from PIL import ExifTags, Image
from torch import Tensor

from ...optional_dependencies import need
from ...preprocessing import Size
from ..image_source import ImageBytes, ImageSource, read_source
from ..images import (
    DECODER_ERRORS,
    USUAL_READING,
    ImageReading,
    UnreadableImageError,
    any_number_of_pixels,
    read_image,
    size_of,
)
from .dataset import LabelledImages
from .jpeg_header import START_OF_IMAGE, ending_after, plain_size

# A reduced image keeps at least so many pixels for each one that is asked for, so that the final resizing still
# decides what is seen: the mean difference from the whole image, resized, is then below 1 of 255.
SPARE = 2
REDUCTIONS = (8, 4, 2)  # those that the decoder is fast at
# Where an image is decoded whole and then shrunk so many times, chroma may be upsampled by repeating pixels: resizing
# smooths it. (The faster inverse DCT, the decoder's other shortcut, is visible: 1.2 of 255.)
FAST_UPSAMPLING = 1.5
MARGIN = 16  # rows below the crop from which its last ones take chroma: two where four rows share one, at an eighth
JPEG_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif")
_FORMATS = ("JPEG", "MPO")  # MPO: what cameras write that put several images into a file

Box = tuple[int, int, int, int]  # left, top, right, bottom


class JpegImage:
    """An upright colour image of this size, (height, width), not decoded yet. `content` is what `source` holds."""

    def __init__(self, source: ImageSource, content: bytes, size: Size, reading: ImageReading = USUAL_READING) -> None:
        self.source, self.content, self.size, self.reading = source, content, size, reading
        self.height, self.width = size

    def resized(self, size: Size, box: Box | None = None, interpolation: str = "bicubic") -> Image.Image:
        """The part in `box`, in pixels, or all of it, as an RGB image of this size, (height, width).

        `interpolation` is bicubic or bilinear, antialiased where it shrinks, as Pillow's. Raises UnreadableImageError.
        """
        # Pillow joins contiguous channels faster than it reads pixels that are not.
        channels = self.resized_pixels(size, box, interpolation).contiguous().numpy()
        return Image.merge("RGB", [Image.fromarray(channel_HW) for channel_HW in channels])

    def resized_pixels(self, size: Size, box: Box | None = None, interpolation: str = "bicubic") -> Tensor:
        """The same as (3, H, W) uint8."""
        box = box or (0, 0, self.width, self.height)
        try:
            pixels, reduction = self._decoded(size, box)
        except ValueError:  # Pillow forgives some faults, and names the others
            resampling = Image.Resampling[interpolation.upper()]
            image = read_image(self.source, reading=self.reading).resize((size[1], size[0]), resampling, box)
            return torch.from_numpy(np.array(image)).permute(2, 0, 1)
        left, top, right, bottom = (round(edge / reduction) for edge in box)
        part_HWC = torch.from_numpy(pixels)[top : max(bottom, top + 1), left : max(right, left + 1)]
        return F.interpolate(part_HWC.permute(2, 0, 1)[None], size, mode=interpolation, antialias=True)[0]

    def _decoded(self, size: Size, box: Box) -> tuple[np.ndarray, int]:
        """(H, W, 3) uint8, reduced as far as `box` allows, and by how much. Raises ValueError for a damaged file."""
        shrinkage = min((box[3] - box[1]) / size[0], (box[2] - box[0]) / size[1])
        reduction = reduction_for(shrinkage)
        needed = box[3] + MARGIN
        shortened = ending_after(self.content, needed) if needed < self.height else None
        pixels = need("simplejpeg", extra="turbo").decode_jpeg(
            shortened or self.content,
            min_height=-(-(needed if shortened else self.height) // reduction),
            min_width=-(-self.width // reduction),
            fastupsample=reduction == 1 and shrinkage >= FAST_UPSAMPLING,
            strict=shortened is None,  # else it would complain of the rows that are left over
        )
        return pixels, reduction


def reduction_for(shrinkage: float) -> int:
    """1, 2, 4 or 8: how many times smaller an image may be decoded that is then to be `shrinkage` times smaller."""
    return next((reduction for reduction in REDUCTIONS if shrinkage >= SPARE * reduction), 1)


class OpenedImages:
    """Labelled images whose colour JPEG files are read but not decoded, for transforms that take a `JpegImage` too."""

    def __init__(self, images: LabelledImages) -> None:
        self.images, self.in_memory, self.name = images, images.in_memory, images.name

    def __len__(self) -> int:
        return len(self.images)

    def read(self, index: int, channels: int) -> tuple[Image.Image | JpegImage, int]:
        """The image and its label. Raises UnreadableImageError, for a JPEG file perhaps only once it is decoded."""
        image = self.images.images[index]
        if channels == 3 and isinstance(image, ImageSource) and may_be_jpeg(image):
            return open_jpeg(image, self.images.reading), self.images.labels[index]
        return self.images.read(index, channels)


def may_be_jpeg(source: ImageSource) -> bool:
    """By the name of a file, or the first bytes of what is in memory."""
    if isinstance(source, ImageBytes):
        return source.content.startswith(START_OF_IMAGE)
    return source.suffix.lower() in JPEG_SUFFIXES


def open_jpeg(source: ImageSource, reading: ImageReading = USUAL_READING) -> JpegImage | Image.Image:
    """A JPEG file in colour, to be decoded later; decoded by Pillow at once if it is anything else, or not upright.

    Raises UnreadableImageError, also for more pixels than `reading` allows.
    """
    try:
        content = read_source(source)
        size = plain_size(content) or _upright_size(content)
        if size is not None:
            reading.check_size(size)
    except (OSError, ValueError) as error:
        raise UnreadableImageError(f"{source}: {error}") from error
    return read_image(source, reading=reading) if size is None else JpegImage(source, content, size, reading)


def _upright_size(content: bytes) -> Size | None:
    """The size of an upright colour JPEG, by Pillow, which takes longer; None for what Pillow is to decode."""
    try:
        with any_number_of_pixels(), Image.open(BytesIO(content), formats=("JPEG",)) as image:
            upright = image.getexif().get(ExifTags.Base.Orientation, 1) == 1
            return size_of(image) if upright and image.mode == "RGB" and image.format in _FORMATS else None
    except DECODER_ERRORS:
        return None

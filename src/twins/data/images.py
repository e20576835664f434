"""How an image file is read: decoded, upright, in grey or colour; and its size without decoding it."""

from __future__ import annotations

import importlib
import struct
import sys
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, NamedTuple, Self, TypeVar

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from ..errors import TwinsError
from ..preprocessing import Size
from ..recipes import Recipe
from ..recipes.base import BIT_DEPTH, MAX_MEGAPIXELS
from .data_part import DataPart
from .image_source import ImageSource, open_source
from .image_suffixes import HEIF_SUFFIXES, IMAGE_FORMATS
from .image_suffixes import IMAGE_SUFFIXES as IMAGE_SUFFIXES  # the name that it has always had
from .pixel_values import as_bytes, is_deep, unusual_pixels

T = TypeVar("T")

MODES = {1: "L", 3: "RGB"}  # Pillow's, by the number of channels
# What Pillow's decoders raise on broken files: there is no common class.
DECODER_ERRORS = (
    *(
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        LookupError,
        RuntimeError,
        TypeError,
        AttributeError,
        ArithmeticError,
    ),
    *(MemoryError, AssertionError, struct.error, zlib.error, Image.DecompressionBombError),
)
_TIFF_HINT = ", as TIFF of float colours, 64 bits or more than 4 channels; save it with 8 or 16 bits"
_HINTS = {".tif": _TIFF_HINT, ".tiff": _TIFF_HINT}  # of what Pillow does not read though it knows the format
_TRANSPOSED = (5, 6, 7, 8)  # values of the EXIF tag that swap height and width


class UnreadableImageError(Exception):
    """An image that cannot be decoded; str() says which and why."""

    @classmethod
    def of(cls, source: ImageSource, error: Exception) -> UnreadableImageError:
        return cls(f"{source}: {str(error) or type(error).__name__}")


@dataclass(frozen=True)
class ImageReading:
    """What a recipe says of how its images are read."""

    bit_depth: int = BIT_DEPTH  # see `as_bytes`
    max_megapixels: float | None = MAX_MEGAPIXELS  # larger images are refused before they are decoded; None: none is

    @classmethod
    def of(cls, recipe: Recipe) -> ImageReading:
        return cls(recipe.bit_depth, recipe.max_megapixels)

    def check_size(self, size: Size) -> None:
        """Raises ValueError for an image of more pixels than are allowed."""
        megapixels = size[0] * size[1] / 1e6
        if self.max_megapixels is not None and megapixels > self.max_megapixels:
            raise ValueError(
                f"{round(megapixels, 1):g} megapixels ({width_x_height(size)}), more than --max-megapixels "
                f"{self.max_megapixels:g}: raise that to read it, or none for no limit"
            )


USUAL_READING = ImageReading()


def read_as(recipe: Recipe, part: T) -> T:
    """A part of a data set, its images read as the recipe says; None where there is no such part."""
    return part if part is None else replace(part, reading=ImageReading.of(recipe))  # type: ignore[type-var]


def read_image(source: ImageSource, channels: int = 3, reading: ImageReading = USUAL_READING) -> Image.Image:
    """Decode an image to 1 (grey) or 3 (RGB) channels of bytes, turned upright by its EXIF tag.

    What becomes of more than 8 bits and of transparency, `as_bytes` says. Raises UnreadableImageError for a file that
    is missing, truncated, corrupt or no image, or that `reading` does not allow; TwinsError for a number of channels
    that images do not have.
    """
    if channels not in MODES:
        raise TwinsError(f"images can be read with 1 or 3 channels (in_chans), not {channels}")
    with opened_image(source) as image:
        reading.check_size(size_of(image))
        image.load()
        ImageOps.exif_transpose(image, in_place=True)  # copies of large images take as long as decoding them
        return as_bytes(image, channels, reading.bit_depth)


class ImageHeader(NamedTuple):
    """What is known of an image without decoding it."""

    size: Size  # upright, as `read_image` turns it
    unusual: tuple[str, ...]  # pixels that are not just 8-bit ones, see `unusual_pixels`
    deep: bool  # grey of more than 8 bits


def read_header(source: ImageSource, reading: ImageReading = USUAL_READING) -> ImageHeader:
    """Of a file that is to be read so. Raises UnreadableImageError."""
    with opened_image(source) as image:
        size = _upright_size(image)
        reading.check_size(size)
        return ImageHeader(size, tuple(unusual_pixels(image, reading.bit_depth)), is_deep(image))


def upright_size(source: ImageSource) -> Size:
    """(height, width) of an image as `read_image` turns it, from the file's header. Raises UnreadableImageError."""
    with opened_image(source) as image:
        return _upright_size(image)


def readable_size(source: ImageSource) -> Size | None:
    """As `upright_size`, but None for a file that is missing or broken, which whoever reads the image will report."""
    try:
        return upright_size(source)
    except UnreadableImageError:
        return None


@contextmanager
def opened_image(source: ImageSource) -> Iterator[Image.Image]:
    """The image in a file, not decoded yet, whatever its size. Raises UnreadableImageError, from within too."""
    try:
        formats = IMAGE_FORMATS
        if source.suffix.lower() in HEIF_SUFFIXES:
            _learn_heif()
            formats = ("HEIF", *formats) if "HEIF" in Image.OPEN else formats
        with any_number_of_pixels(), open_source(source) as file, Image.open(file, formats=formats) as image:
            yield image
    except UnidentifiedImageError as error:
        hint = _HINTS.get(source.suffix.lower(), "")
        raise UnreadableImageError(
            f"{source}: cannot identify image file: damaged, or of no format that is read{hint}"
        ) from error
    except DECODER_ERRORS as error:
        raise UnreadableImageError.of(source, error) from error


def _learn_heif() -> None:
    """Teach Pillow the format of phones. Raises OSError where the library is missing."""
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except ModuleNotFoundError as error:
        raise OSError("HEIC images need a library: pip install pillow-heif") from error


class _PillowsLimit:
    """Pillow's own limit of pixels, one for all threads of the process, and how many of them do without it."""

    lock: ClassVar[threading.Lock] = threading.Lock()
    users: ClassVar[int] = 0
    value: ClassVar[int | None] = None


@contextmanager
def any_number_of_pixels() -> Iterator[None]:
    """Within it Pillow neither warns of large images nor refuses them: `ImageReading` has the limit that counts."""
    limit = _PillowsLimit
    with limit.lock:
        if not limit.users:
            # Not None, which Pillow reads twice and computes with the second time: in another thread, meanwhile.
            limit.value, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, sys.maxsize
        limit.users += 1
    try:
        yield
    finally:
        with limit.lock:
            limit.users -= 1
            if not limit.users:
                Image.MAX_IMAGE_PIXELS = limit.value


@dataclass(frozen=True)
class ImageFiles(DataPart):
    """N image files; what is known of each stands in a subclass."""

    images: Sequence[Path]
    reading: ImageReading = field(default=USUAL_READING, kw_only=True)

    def __len__(self) -> int:
        return len(self.images)

    def name(self, index: int) -> str:
        """The image's file, for messages."""
        return str(self.images[index])

    def subset(self, indices: Sequence[int]) -> Self:
        """The images at these indices, in this order."""
        return replace(self, images=[self.images[i] for i in indices])

    def open(self, index: int, channels: int) -> Image.Image:
        """The upright image of 1 or 3 channels. Raises UnreadableImageError."""
        return read_image(self.images[index], channels, self.reading)

    def header(self, index: int) -> ImageHeader:
        """What is known of an image without decoding it. Raises UnreadableImageError."""
        return read_header(self.images[index], self.reading)


def size_of(image: Image.Image) -> Size:
    """(height, width), where Pillow's own `size` is (width, height)."""
    return image.height, image.width


def _upright_size(image: Image.Image) -> Size:
    # Not image.getexif(): for PNG that decodes every pixel, in case a tag comes behind them.
    orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation)
    height, width = size_of(image)
    transposed = orientation in _TRANSPOSED and image.format != "TIFF"  # which Pillow turns by itself
    return (width, height) if transposed else (height, width)


def width_x_height(size: Size) -> str:
    """As people write it, the width first: "640 x 480"."""
    height, width = size
    return f"{width} x {height}"

"""How an image file is read: decoded, upright, in grey or colour; and its size without decoding it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags, Image, ImageOps

from ..errors import TwinsError
from ..preprocessing import Size

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif")
MODES = {1: "L", 3: "RGB"}  # Pillow's, by the number of channels
# What Pillow's decoders raise on broken files: there is no common class.
DECODER_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, Image.DecompressionBombError)
_TRANSPOSED = (5, 6, 7, 8)  # values of the EXIF tag that swap height and width


class UnreadableImageError(Exception):
    """An image that cannot be decoded; str() says which and why."""

    @classmethod
    def of(cls, path: Path, error: Exception) -> UnreadableImageError:
        return cls(f"{path}: {error or type(error).__name__}")


def read_image(path: Path, channels: int = 3) -> Image.Image:
    """Decode a file to 1 (grey) or 3 (RGB) channels of bytes, turned upright by its EXIF tag.

    Raises UnreadableImageError for a file that is missing, truncated, corrupt or no image, TwinsError for a number of
    channels that images do not have.
    """
    if channels not in MODES:
        raise TwinsError(f"images can be read with 1 or 3 channels (in_chans), not {channels}")
    try:
        with Image.open(path) as image:
            image.load()
            ImageOps.exif_transpose(image, in_place=True)  # copies of large images take as long as decoding them
            return image if image.mode == MODES[channels] else image.convert(MODES[channels])
    except DECODER_ERRORS as error:
        raise UnreadableImageError.of(path, error) from error


@dataclass(frozen=True)
class ImageFiles:
    """N image files; what is known of each stands in a subclass."""

    images: Sequence[Path]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def in_memory(self) -> bool:
        return False

    def name(self, index: int) -> str:
        """The image's file, for messages."""
        return str(self.images[index])


def size_of(image: Image.Image) -> Size:
    """(height, width), where Pillow's own `size` is (width, height)."""
    return image.height, image.width


def upright_size(path: Path) -> Size:
    """(height, width) of an image as `read_image` turns it, from the file's header. Raises UnreadableImageError."""
    try:
        with Image.open(path) as image:
            # Not image.getexif(): for PNG that decodes every pixel, in case a tag comes behind them.
            orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation)
            height, width = size_of(image)
            transposed = orientation in _TRANSPOSED and image.format != "TIFF"  # which Pillow turns by itself
    except DECODER_ERRORS as error:
        raise UnreadableImageError.of(path, error) from error
    return (width, height) if transposed else (height, width)


def readable_size(path: Path) -> Size | None:
    """As `upright_size`, but None for a file that is missing or broken, which whoever reads the image will report."""
    try:
        return upright_size(path)
    except UnreadableImageError:
        return None


def width_x_height(size: Size) -> str:
    """As people write it, the width first: "640 x 480"."""
    height, width = size
    return f"{width} x {height}"

"""Image files of one colour, as tests of layouts need them."""

from __future__ import annotations

from pathlib import Path

from PIL import ExifTags, Image


def write_image(path: Path, width: int = 8, height: int = 6, turned: bool = False) -> Path:
    """An image, `turned` by its EXIF tag: stored lying, seen upright."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if turned:
        exif[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (width, height), (9, 8, 7)).save(path, exif=exif)
    return path

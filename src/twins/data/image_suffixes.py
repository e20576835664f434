"""Which files are images, by their suffixes and formats, and which of the others belong beside images."""

from __future__ import annotations

from importlib.util import find_spec

from PIL import features

# Of formats that every Pillow reads.
_ALWAYS = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".ppm", ".pgm",
    ".pbm", ".pnm", ".gif", ".tga",
)  # fmt: skip
HEIF_SUFFIXES = (".heic", ".heif", ".hif")
_NEEDS_NEWER_PILLOW = "a newer Pillow reads them: pip install -U pillow"
# Of formats that not every Pillow reads: whether this one does, and what to do where it does not.
_SOMETIMES = {
    (".avif", ".avifs"): (features.check("avif"), _NEEDS_NEWER_PILLOW),
    (".jp2", ".j2k", ".jpx", ".jpf"): (features.check("jpg_2000"), _NEEDS_NEWER_PILLOW),
    HEIF_SUFFIXES: (find_spec("pillow_heif") is not None, "pip install pillow-heif, which reads them"),
}

IMAGE_SUFFIXES = (*_ALWAYS, *(suffix for suffixes, (can, _) in _SOMETIMES.items() if can for suffix in suffixes))
REMEDIES = {suffix: remedy for suffixes, (can, remedy) in _SOMETIMES.items() if not can for suffix in suffixes}
# The same formats in Pillow's words. No others are looked for in a file, whatever its name: Pillow reads forty, and
# hands one of them, EPS, to another program. TGA is known by no mark at its beginning, and so comes last.
IMAGE_FORMATS = (
    *("JPEG", "PNG", "BMP", "DIB", "WEBP", "TIFF", "PPM", "GIF"),
    *(("AVIF",) if features.check("avif") else ()),
    *(("JPEG2000",) if features.check("jpg_2000") else ()),
    "TGA",
)
USUAL_IMAGES = "JPEG, PNG, TIFF, WebP, BMP, GIF and others that Pillow reads"  # for messages

# Annotations, lists, notes and settings: nobody takes them for images.
SIDECAR_SUFFIXES = (
    ".txt", ".json", ".jsonl", ".ndjson", ".xml", ".csv", ".tsv", ".md", ".rst", ".yaml", ".yml", ".cache", ".names",
    ".html", ".ini", ".log", ".py", ".ipynb", ".sh", ".toml", ".xmp", ".aux.xml", ".tfw", ".pgw", ".jgw", ".wld",
    ".sha256", ".md5", ".url",
)  # fmt: skip

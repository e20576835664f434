"""Hostile images and masks: valid ones of every format mutated, huge sizes claimed, other formats under their names."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, features

from twins.data.annotation_errors import AnnotationError
from twins.data.classify.partial_jpeg import JpegImage, open_jpeg
from twins.data.images import UnreadableImageError, read_header, read_image
from twins.data.masks.decoding import MaskCoding, decode_mask

from .mutation import mutated_bytes
from .sandbox import CANARY, MEMORY, Attempt, Kind

_SAVED = (
    *(("JPEG", mode, {}) for mode in ("RGB", "L", "CMYK")),
    ("JPEG", "RGB", {"progressive": True}),
    *(("PNG", mode, {}) for mode in ("RGB", "RGBA", "L", "LA", "P", "1", "I;16")),
    *(("TIFF", mode, {"compression": how}) for mode in ("RGB", "L") for how in ("raw", "tiff_lzw", "jpeg", "packbits")),
    *(("TIFF", mode, {}) for mode in ("F", "I;16", "CMYK", "1", "P")),
    *(("WEBP", "RGB", {}), ("WEBP", "RGBA", {"lossless": True}), ("GIF", "P", {}), ("GIF", "RGB", {})),
    *(("BMP", mode, {}) for mode in ("RGB", "L", "P", "1", "RGBA")),
    *(("PPM", mode, {}) for mode in ("RGB", "L", "1")),
    *(("TGA", "RGB", {}), ("TGA", "RGBA", {"compression": "tga_rle"})),
)  # fmt: skip
_SUFFIX = {"JPEG": ".jpg", "PNG": ".png", "TIFF": ".tif", "WEBP": ".webp", "GIF": ".gif", "BMP": ".bmp", "PPM": ".ppm",
           "TGA": ".tga", "AVIF": ".avif", "JPEG2000": ".jp2"}  # fmt: skip
# Programs of other formats, which a library may hand to an interpreter.
_EPS = (
    "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n"
    f"({CANARY}) (w) file closefile\nshowpage\n%%EOF\n"
)
_PROGRAMS = (
    _EPS.encode(),
    b"%PDF-1.4\n1 0 obj <</OpenAction 2 0 R>> endobj\n",
    b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
    b"push graphic-context\nimage over 0,0 0,0 'ephemeral:/tmp/x'\n",
    b"\xd7\xcd\xc6\x9a" + bytes(60),
    b"GRIB" + bytes(4) + b"\x01" + bytes(40),
    b"\x89HDF\r\n\x1a\n" + bytes(60),
    b"SIMPLE  =                    T / " + b" " * 3000,
    b"8BPS\x00\x01" + bytes(6) + struct.pack(">HIIHH", 3, 30000, 30000, 8, 3) + bytes(12),
    b"#define x_width 60000\n#define x_height 60000\nstatic char x_bits[] = {\n0x00 };\n",
    b"/* XPM */\nstatic char *x[] = {\n\"60000 60000 2 1\",\n\"a c #000000\",\n};\n",
    b"Image type: L image\r\nFile size (no of images): 1\r\nImage size (x*y): 60000*60000\r\n\x1a" + bytes(9),
    b"\x00\x00\x01\x00\x01\x00" + b"\xff\xff\x00\x00\x01\x00\x18\x00" + struct.pack("<II", 2**31 - 1, 22) + bytes(40),
)  # fmt: skip


def prepare(folder: Path) -> list[tuple[str, bytes]]:
    """(suffix, content) of each."""
    rng = np.random.default_rng(0)
    pixels = np.kron(rng.integers(0, 256, (5, 7, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    image = Image.fromarray(pixels)
    more = [("AVIF", "RGB", {})] * features.check("avif") + [("JPEG2000", "RGB", {})] * features.check("jpg_2000")
    made = []
    for kind, mode, settings in (*_SAVED, *more):
        buffer = io.BytesIO()
        exif = image.getexif()
        exif[0x0112], exif[0x010E] = 6, "a description"
        tagged = {"exif": exif} if kind in ("JPEG", "PNG", "WEBP") and mode in ("RGB", "P") else {}
        ready = Image.fromarray(pixels[..., 0].astype(np.uint16) * 256) if mode == "I;16" else image.convert(mode)
        ready.save(buffer, kind, **settings, **tagged)
        made.append((_SUFFIX[kind], buffer.getvalue()))
    frames = [image, image.transpose(Image.Transpose.ROTATE_180)]
    for kind in ("GIF", "TIFF", "WEBP", "PNG"):
        buffer = io.BytesIO()
        frames[0].save(buffer, kind, save_all=True, append_images=frames[1:])
        made.append((_SUFFIX[kind], buffer.getvalue()))
    return made


def _png(width: int, height: int, data: bytes, depth: int = 8, colour: int = 2) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def _claimed_png(rng: random.Random, width: int, height: int) -> bytes:
    data = zlib.compress(bytes(rng.choice((10, 10**6))))
    return _png(width, height, data, depth=rng.choice((1, 8, 16)), colour=rng.choice((0, 2, 3, 6)))


def _claimed_bmp(rng: random.Random, width: int, height: int) -> bytes:
    bits, compression = rng.choice((1, 4, 8, 24, 32)), rng.choice((0, 1, 3))
    sides = struct.pack("<Iii", 40, width, rng.choice((1, -1)) * height)
    return b"BM" + struct.pack("<IHHI", 100, 0, 0, 54) + sides + struct.pack("<HHI", 1, bits, compression) + bytes(20)


def _claimed_gif(rng: random.Random, width: int, height: int) -> bytes:
    sides = struct.pack("<HH", width % 65536, height % 65536)
    frame = b"," + bytes(4) + sides + b"\0\x08\x01\0;"
    return b"GIF89a" + sides + b"\xf7\0\0" + bytes(768) + frame


def _claimed_ppm(rng: random.Random, width: int, height: int) -> bytes:
    kind, most = rng.choice(("P4", "P5", "P6", "P1", "P3", "Pf")), rng.choice((255, 65535, 1, 0, 9**20))
    return f"{kind}\n{width} {height}\n{most}\n".encode() + bytes(100)


def _claimed_tga(rng: random.Random, width: int, height: int) -> bytes:
    kind, bits = rng.choice((2, 10, 1, 3)), rng.choice((8, 16, 24, 32))
    return struct.pack("<BBB9xHHBB", 0, 0, kind, width % 65536, height % 65536, bits, 0) + bytes(50)


def _claimed_tiff(rng: random.Random, width: int, height: int) -> bytes:
    tags = {
        256: width,
        257: height,
        258: rng.choice((1, 8, 16, 32)),  # bits
        259: rng.choice((1, 5, 7, 8, 32773)),  # compression
        262: rng.choice((0, 1, 2, 3, 6)),  # photometric interpretation
        273: rng.choice((8, 0, 2**32 - 1)),  # offset of the strip
        277: rng.choice((1, 3, 4, 60000)),  # samples a pixel
        278: rng.choice((1, height)),  # rows a strip
        279: rng.choice((1, 2**32 - 1)),  # bytes of the strip
    }
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, number % 2**32) for tag, number in tags.items())
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4)


_CLAIMS: dict[str, Callable[[random.Random, int, int], bytes]] = {
    ".png": _claimed_png,
    ".bmp": _claimed_bmp,
    ".gif": _claimed_gif,
    ".ppm": _claimed_ppm,
    ".tga": _claimed_tga,
    ".tif": _claimed_tiff,
}


def _claiming(rng: random.Random) -> tuple[str, bytes]:
    """A few bytes that claim many pixels, under the limit and beyond it."""
    suffix, make = rng.choice(list(_CLAIMS.items()))
    width = rng.choice((13_000, 40_000, 65_535, 2**31 - 1, 1))
    height = rng.choice((13_000, 1, 65_535, 2**30, 178_000_000))
    return suffix, make(rng, width, height)


def _zip_bomb_text(rng: random.Random) -> tuple[str, bytes]:
    """PNG with a compressed text or profile of many megabytes."""
    content = zlib.compress(bytes(rng.choice((10**6, 10**8))))
    name, body = rng.choice(((b"zTXt", b"a\0\0"), (b"iCCP", b"a\0\0"), (b"iTXt", b"a\0\1\0\0\0")))
    chunk = struct.pack(">I", len(body + content)) + name + body + content
    chunk += struct.pack(">I", zlib.crc32(name + body + content))
    sound = _png(1, 1, zlib.compress(bytes(4)))
    return ".png", sound[:33] + chunk + sound[33:]


def images(rng: random.Random, made: list[tuple[str, bytes]], folder: Path) -> Attempt:
    return partial(_look, _written(rng, made, folder), rng.choice((1, 3)))


def masks(rng: random.Random, made: list[tuple[str, bytes]], folder: Path) -> Attempt:
    coding = rng.choice(
        (
            *(MaskCoding(), MaskCoding(values=(0, 7)), MaskCoding(threshold=99), MaskCoding(reduce_zero_label=True)),
            MaskCoding(colours=((0, 0, 0), (255, 0, 0))),
            MaskCoding(colours=((0, 0, 0), (1, 2, 3)), nearest_colour=True),
        )
    )
    return partial(decode_mask, _written(rng, made, folder), coding)


def _written(rng: random.Random, made: list[tuple[str, bytes]], folder: Path) -> Path:
    chance = rng.random()
    if chance < 0.6:
        suffix, content = rng.choice(made)
        content = mutated_bytes(rng, content, [one for _, one in made])
    elif chance < 0.8:
        suffix, content = _claiming(rng)
    elif chance < 0.85:
        suffix, content = _zip_bomb_text(rng)
    else:
        suffix, content = rng.choice((".jpg", ".png", ".tif")), rng.choice(_PROGRAMS)
        content = mutated_bytes(rng, content, [content]) if rng.random() < 0.3 else content
    path = folder / f"hostile{suffix}"
    path.write_bytes(content)
    return path


def _look(path: Path, channels: int) -> None:
    """As a check does, as training does, and as prediction does; refused where one of them refuses."""
    refusals = []
    for look in (read_header, partial(read_image, channels=channels), _part_of_jpeg):
        try:
            look(path)
        except (UnreadableImageError, AnnotationError) as error:
            refusals.append(type(error)(str(error)))  # without the frames, in which the image still is
    if refusals:
        raise refusals[-1]


def _part_of_jpeg(path: Path) -> None:
    opened = open_jpeg(path)
    if isinstance(opened, JpegImage):
        height, width = opened.size
        opened.resized((8, 8), (0, 0, max(width // 2, 1), max(height // 2, 1)))


KINDS = (
    Kind("images", 20, prepare, images, MEMORY, in_one_piece=True),
    Kind("masks", 8, prepare, masks, MEMORY, in_one_piece=True),
)

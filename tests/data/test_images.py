"""How files become bytes: more than 8 bits, transparency, large images, and files that are none."""

from __future__ import annotations

import os
import pickle
import struct
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from twins.data.boxes.layouts import open_boxed
from twins.data.classify.dataset import LabelledImages
from twins.data.classify.layouts import open_labelled
from twins.data.images import (
    ImageReading,
    UnreadableImageError,
    any_number_of_pixels,
    read_header,
    read_image,
    upright_size,
)
from twins.data.masks.layouts import open_masked

LEVELS = np.arange(256, dtype=np.uint8)[None].repeat(3, axis=0)  # each byte, in three rows
SIXTEEN = LEVELS.astype(np.uint16) * 257  # the same greys in 16 bits


def png(values: np.ndarray, colour_type: int, transparent: bytes = b"") -> bytes:
    """A PNG file of 16 bits a channel, as Pillow does not write them in colour; `values` is (H, W) or (H, W, C)."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    key = chunk(b"tRNS", transparent) if transparent else b""
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + key + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


def save(path: Path, values: np.ndarray, **settings: object) -> Path:
    Image.fromarray(values).save(path, **settings)
    return path


def seen(path: Path, channels: int, **reading: int) -> np.ndarray:
    """What is read, of which all channels of a grey image must be the same."""
    pixels = np.asarray(read_image(path, channels, ImageReading(**reading)))
    assert pixels.dtype == np.uint8
    if channels == 3:
        assert (pixels == pixels[..., :1]).all()
        return pixels[..., 0]
    return pixels


# More than 8 bits


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("a.png", SIXTEEN),
        ("a.tif", SIXTEEN),
        ("a.tif", SIXTEEN.astype(np.int32)),
        ("a.tif", LEVELS.astype(np.float32) / 255),
        ("a.jp2", SIXTEEN),
    ],
)
def test_deep_greys_are_scaled_by_their_range(tmp_path: Path, name: str, values: np.ndarray, channels: int) -> None:
    settings = {"irreversible": False} if name.endswith("jp2") else {}
    assert np.array_equal(seen(save(tmp_path / name, values, **settings), channels), LEVELS)


def test_values_between_two_bytes_are_rounded(tmp_path: Path) -> None:
    values = np.array([[0, 128, 129, 385, 386, 65406, 65407, 65535]], dtype=np.uint16)
    assert seen(save(tmp_path / "a.png", values), 1).tolist() == [[0, 0, 1, 1, 2, 254, 255, 255]]
    values = np.array([[0, 0.5 / 255, 0.49 / 255, 1]], dtype=np.float32)
    assert seen(save(tmp_path / "a.tif", values), 1).tolist() == [[0, 1, 0, 255]]


@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_fewer_bits_are_read_by_these(tmp_path: Path, channels: int) -> None:
    values = np.array([[0, 8, 9, 2048, 4095]], dtype=np.uint16)  # 4095 / 255 = 16.06
    assert seen(save(tmp_path / "a.png", values), channels, bit_depth=12).tolist() == [[0, 0, 1, 128, 255]]
    with pytest.raises(UnreadableImageError, match=r"a.png: values from 0 to 4095 .* 0 to 1023 .* --bit-depth"):
        seen(save(tmp_path / "a.png", values), channels, bit_depth=10)


def test_a_range_that_the_file_states_counts(tmp_path: Path) -> None:
    """Whatever the recipe says; Pillow has scaled a PGM to 65535 already."""
    (tmp_path / "a.pgm").write_bytes(b"P5 3 1 4095\n" + np.array([0, 2048, 4095], dtype=">u2").tobytes())
    for bits in (12, 16):
        assert seen(tmp_path / "a.pgm", 1, bit_depth=bits).tolist() == [[0, 128, 255]]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[-3, 70000]], dtype=np.int32), "values from -3 to 70000 in a grey image of more than 8 bits"),
        (np.array([[0, 255]], dtype=np.float32), "values from 0 to 255 in a float image, of which 0 to 1 can be read"),
        (np.array([[0, np.nan]], dtype=np.float32), "values from nan to nan in a float image"),
        (np.array([[-0.1, 0.5]], dtype=np.float32), "values from -0.1 to 0.5 in a float image"),
    ],
)
def test_other_ranges_are_refused_by_name(tmp_path: Path, values: np.ndarray, message: str) -> None:
    with pytest.raises(UnreadableImageError, match=f"a.tif: {message}"):
        read_image(save(tmp_path / "a.tif", values))


def test_tiff_files_in_which_0_is_white_are_inverted(tmp_path: Path) -> None:
    for values in (LEVELS, SIXTEEN, LEVELS.astype(np.float32) / 255):
        path = save(tmp_path / "a.tif", values, tiffinfo={262: 0})
        assert np.array_equal(seen(path, 1), LEVELS[:, ::-1] if values is not LEVELS else seen(path, 3))


def test_colours_of_16_bits_in_planes_are_refused(tmp_path: Path) -> None:
    """Which Pillow reads, but as other colours."""
    tifffile = pytest.importorskip("tifffile")
    planes = np.random.default_rng(0).integers(0, 65536, (3, 20, 30)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate")
    with pytest.raises(UnreadableImageError, match="16-bit colours in separate planes"):
        read_image(tmp_path / "a.tif")


def test_tiff_files_that_pillow_does_not_know_get_a_hint(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 5, 3), dtype=np.float32), photometric="rgb")
    with pytest.raises(UnreadableImageError, match="as TIFF of float colours, .* save it with 8 or 16 bits"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (6, 4)])
def test_colours_of_16_bits_keep_their_upper_8(tmp_path: Path, colour_type: int, channels: int) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (4, 5, channels)).astype(np.uint16)
    values[..., 3:] = 65535
    (tmp_path / "a.png").write_bytes(png(values, colour_type))
    assert np.array_equal(np.asarray(read_image(tmp_path / "a.png")), values[..., :3] >> 8)
    assert "colour images of 16 bits, of which the upper 8 are read" in read_header(tmp_path / "a.png").unusual


def test_arrays_in_memory_are_read_as_files_are() -> None:
    images = LabelledImages(np.stack([SIXTEEN >> 4]), [0], ("a",), reading=ImageReading(bit_depth=12))
    assert np.array_equal(np.asarray(images.open(0, 1)), LEVELS)


# Transparency

RED_HALF_GONE = np.array([[[200, 0, 0, 255], [200, 0, 0, 0], [0, 0, 0, 0], [200, 100, 0, 51]]], dtype=np.uint8)
ON_WHITE = [[[200, 0, 0], [255, 255, 255], [255, 255, 255], [244, 224, 204]]]  # 0.2 of the colour, 0.8 of white


def test_transparent_images_are_shown_on_white(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", RED_HALF_GONE)
    assert np.asarray(read_image(path)).tolist() == ON_WHITE
    assert np.asarray(read_image(path, 1)).tolist() == np.asarray(read_image(path).convert("L")).tolist()
    assert read_header(path).unusual == ("images with transparency, shown on white",)


def test_opaque_images_keep_every_byte(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (8, 9, 4)).astype(np.uint8)
    colours[..., 3] = 255
    assert np.array_equal(np.asarray(read_image(save(tmp_path / "a.png", colours))), colours[..., :3])


def palette_with_a_gap(path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1, 2]], dtype=np.uint8), "P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.save(path, transparency=1)


def grey_with_opacity(path: Path) -> None:
    Image.fromarray(np.array([[[10, 255], [50, 0], [70, 255]]], dtype=np.uint8), "LA").save(path)


def grey_with_a_key(path: Path) -> None:
    Image.fromarray(np.array([[10, 50, 70]], dtype=np.uint8)).save(path, transparency=50)


def deep_grey_with_a_key(path: Path) -> None:
    path.write_bytes(png(np.array([[10, 50, 70]]) * 257, 0, struct.pack(">H", 50 * 257)))


@pytest.mark.parametrize("write", [palette_with_a_gap, grey_with_opacity, grey_with_a_key, deep_grey_with_a_key])
@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
def test_every_kind_of_transparency_shows_white(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path / "a.png")
    left, gap, right = np.asarray(read_image(tmp_path / "a.png"))[0].tolist()
    assert gap == [255, 255, 255]
    assert (left, right) == (([10, 20, 30], [70, 80, 90]) if write is palette_with_a_gap else ([10] * 3, [70] * 3))
    assert np.asarray(read_image(tmp_path / "a.png", 1))[0, 1] == 255


# Large images


def test_the_limit_of_pixels_is_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.png", np.zeros((300, 500), dtype=np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # Pillow alone would refuse even the header
    assert upright_size(path) == (300, 500)
    assert read_image(path).size == (500, 300)
    small = ImageReading(max_megapixels=0.1)
    for read in (read_header, lambda file, reading: read_image(file, 3, reading)):
        with pytest.raises(
            UnreadableImageError, match=r"a.png: 0.1 megapixels \(500 x 300\), more than --max-megapixels"
        ):
            read(path, small)
    assert read_image(path, 3, ImageReading(max_megapixels=None)).size == (500, 300)
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_pillow_has_its_limit_back_whoever_ends_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    first, second = any_number_of_pixels(), any_number_of_pixels()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert Image.MAX_IMAGE_PIXELS is not None  # other threads compute with it
    assert Image.MAX_IMAGE_PIXELS > 10**18
    second.__exit__(None, None, None)
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_maps_of_more_pixels_than_pillow_allows_are_read(tmp_path: Path) -> None:
    """Without a warning of Pillow's, which the suite would take for an error."""
    Image.new("1", (14000, 13000)).save(tmp_path / "a.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert upright_size(tmp_path / "a.png") == (13000, 14000)
        with pytest.raises(
            UnreadableImageError, match=r"182 megapixels \(14000 x 13000\), more than --max-megapixels 179"
        ):
            read_image(tmp_path / "a.png")
        assert read_image(tmp_path / "a.png", 1, ImageReading(max_megapixels=200)).size == (14000, 13000)


@pytest.mark.parametrize("task", ["classify", "segment", "detect"])
def test_every_task_reads_as_its_recipe_says(task: str, request: pytest.FixtureRequest) -> None:
    """In worker processes too, to which data sets are sent as bytes."""
    name, read_parts = {
        "classify": ("tiny_recipe", open_labelled),
        "segment": ("tiny_segment_recipe", open_masked),
        "detect": ("tiny_detect_recipe", open_boxed),
    }[task]
    recipe = request.getfixturevalue(name).replace(bit_depth=12, max_megapixels=0.0001)
    for part in read_parts(recipe):
        assert part.reading == ImageReading(bit_depth=12, max_megapixels=0.0001)
        with pytest.raises(UnreadableImageError, match="more than --max-megapixels 0.0001"):
            pickle.loads(pickle.dumps(part)).read(0, 3)  # noqa: S301


# Files that are none


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes")
@pytest.mark.parametrize("read", [read_image, upright_size])
def test_a_pipe_is_refused_at_once(tmp_path: Path, read: Callable[[Path], object]) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(UnreadableImageError, match="a.png: not a regular file"):
        read(tmp_path / "a.png")


def test_a_missing_library_for_phones_images_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UnreadableImageError, match=r"a.heic: HEIC images need a library: pip install pillow-heif"):
        read_image(tmp_path / "a.heic")
    known: list[bool] = []
    monkeypatch.setitem(sys.modules, "pillow_heif", SimpleNamespace(register_heif_opener=lambda: known.append(True)))
    with pytest.raises(UnreadableImageError, match="cannot identify image file"):
        read_image(tmp_path / "a.heic")
    assert known == [True]


def test_other_formats_are_not_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow hands EPS to a program, Ghostscript, whatever the file is called."""
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *args, **settings: pytest.fail("it was run"))
    (tmp_path / "a.jpg").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
    )
    for read in (read_image, read_header, upright_size):
        with pytest.raises(UnreadableImageError, match="a.jpg: cannot identify image file: damaged, or of no format"):
            read(tmp_path / "a.jpg")


@pytest.mark.parametrize("error", [RuntimeError, TypeError, KeyError, ZeroDivisionError, AssertionError, MemoryError])
def test_whatever_a_decoder_raises_is_one_line(
    error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")

    def load(image: Image.Image) -> None:
        raise error

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", load)
    with pytest.raises(UnreadableImageError, match=f"a.png: {error.__name__}"):
        read_image(tmp_path / "a.png")

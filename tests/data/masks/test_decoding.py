"""How masks of odd kinds become labels: formats, thresholds, listed values, nearest colours, and what is refused."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from twins.data.annotation_errors import AnnotationError
from twins.data.masks.class_table import voc_classes
from twins.data.masks.decoding import IGNORED, MaskCoding, decode_mask, read_labels

PLAIN = MaskCoding()
BLACK_RED_WHITE = ((0, 0, 0), (255, 0, 0), (255, 255, 255))


def save(path: Path, values: object, dtype: type = np.uint8, **options: object) -> Path:
    Image.fromarray(np.asarray(values, dtype=dtype)).save(path, **options)
    return path


def packed_grey_png(path: Path, values: np.ndarray, bits: int) -> Path:
    """A grey PNG of 2 or 4 bits a pixel, which Pillow reads but does not write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width = values.shape
    high_first = np.unpackbits(values.astype(np.uint8)[..., None], axis=-1)[..., -bits:].reshape(height, -1)
    lines = b"".join(b"\0" + np.packbits(line).tobytes() for line in high_first)
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    )
    return path


@pytest.mark.parametrize("bits", [2, 4])
def test_grey_of_few_bits_holds_numbers(tmp_path: Path, bits: int) -> None:
    values = np.arange(1 << bits, dtype=np.uint8)[None].repeat(3, 0)
    assert read_labels(packed_grey_png(tmp_path / "m.png", values, bits), PLAIN).tolist() == values.tolist()


def test_floats_that_are_whole_are_numbers(tmp_path: Path) -> None:
    path = save(tmp_path / "m.tif", [[0.0, 3.0, 255.0]], np.float32)
    assert read_labels(path, PLAIN).tolist() == [[0, 3, 255]]
    for value in (0.5, np.nan, np.inf):
        save(path, [[0, value]], np.float32)
        with pytest.raises(AnnotationError, match=rf"m\.tif: value {value:g} in a mask of floats cannot be a class"):
            read_labels(path, PLAIN)
    save(path, [[0.2, 0.5, 1.0]], np.float32)
    assert read_labels(path, MaskCoding(threshold=0.5)).tolist() == [[0, 1, 1]]
    save(path, [[0, np.nan]], np.float32)
    with pytest.raises(AnnotationError, match=r"m\.tif: no grey levels in a mask of mode F with NaN"):
        read_labels(path, MaskCoding(threshold=0.5))


def test_files_of_several_pages_are_refused(tmp_path: Path) -> None:
    pages = [Image.new("L", (2, 2), value) for value in (0, 1, 2)]
    for name in ("m.tif", "m.gif"):
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
        with pytest.raises(AnnotationError, match=rf"{name}: 3 pages in one file; save each mask as a file of one"):
            read_labels(tmp_path / name, PLAIN)


def test_palettes_with_transparency_hold_numbers(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1, 2]], dtype=np.uint8))
    image.putpalette([0, 0, 0, 255, 0, 0, 255, 255, 255])
    image.save(tmp_path / "m.png", transparency=0)
    assert read_labels(tmp_path / "m.png", PLAIN).tolist() == [[0, 1, 2]]
    assert read_labels(tmp_path / "m.png", MaskCoding(colours=BLACK_RED_WHITE)).tolist() == [[0, 1, 2]]


def test_minus_one_may_be_no_class(tmp_path: Path) -> None:
    path = save(tmp_path / "m.tif", [[-1, 0, 5]], np.int32)
    assert read_labels(path, MaskCoding(ignore_index=-1)).tolist() == [[IGNORED, 0, 5]]
    with pytest.raises(
        AnnotationError, match="value 5 cannot|value -1 cannot be a class; if -1 is no class: --ignore-i"
    ):
        read_labels(path, PLAIN)


# Two classes by brightness


@pytest.mark.parametrize(
    ("mode", "values", "threshold"),
    [("L", [[0, 127, 128, 255]], 128), ("RGB", [[0, 127, 128, 255]], 128), ("1", [[0, 0, 255, 255]], 128),
     ("P", [[0, 127, 128, 255]], 128), ("I;16", [[0, 127, 128, 65535]], 128)],
)  # fmt: skip
def test_threshold(tmp_path: Path, mode: str, values: list[list[int]], threshold: int) -> None:
    grey = Image.fromarray(np.array(values, dtype=np.uint16 if mode == "I;16" else np.uint8))
    (grey if mode == "I;16" else grey.convert(mode)).save(tmp_path / "m.png")
    assert read_labels(tmp_path / "m.png", MaskCoding(threshold=threshold)).tolist() == [[0, 0, 1, 1]]


def test_a_threshold_makes_jpeg_harmless(tmp_path: Path) -> None:
    square = np.zeros((32, 32), dtype=np.uint8)
    square[8:24, 8:24] = 255
    save(tmp_path / "m.jpg", square, quality=60)
    assert read_labels(tmp_path / "m.jpg", MaskCoding(threshold=128)).tolist() == (square // 255).tolist()


# Values and colours


def test_listed_values(tmp_path: Path) -> None:
    path = save(tmp_path / "m.png", [[0, 7, 300, 255]], np.uint16)
    coding = MaskCoding(values=(0, 300, 7))
    assert read_labels(path, coding).tolist() == [[0, 2, 1, IGNORED]]
    with pytest.raises(AnnotationError, match=r"m\.png: value 300 is none of the 2 classes'; list all values"):
        read_labels(path, MaskCoding(values=(0, 7)))


def test_nearest_colour_is_what_each_pixel_is_next_to(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (16, 16, 3))
    path = save(tmp_path / "m.png", pixels)
    distance = ((pixels[:, :, None] - np.array(BLACK_RED_WHITE)) ** 2).sum(-1)
    found = decode_mask(path, MaskCoding(colours=BLACK_RED_WHITE, nearest_colour=True))
    assert found.labels.tolist() == distance.argmin(-1).tolist()
    assert found.approximated == int((distance.min(-1) > 0).sum())


def test_anti_aliased_edges_are_named_as_such(tmp_path: Path) -> None:
    classes = np.zeros((48, 64, 3), dtype=np.uint8)
    classes[10:30, 10:40] = (255, 0, 0)
    smooth = Image.fromarray(classes).filter(ImageFilter.GaussianBlur(1))
    smooth.save(tmp_path / "m.png")
    coding = MaskCoding(colours=BLACK_RED_WHITE)
    with pytest.raises(AnnotationError, match=r"m\.png: colour .* is none of the 3 classes'; many .* --nearest-colour"):
        read_labels(tmp_path / "m.png", coding)
    labels = read_labels(tmp_path / "m.png", MaskCoding(colours=BLACK_RED_WHITE, nearest_colour=True))
    wrong = (labels != classes[..., 0] // 255).mean()
    assert wrong < 0.01
    assert set(np.unique(labels)) == {0, 1}


def test_numbers_beside_a_table_of_colours(tmp_path: Path) -> None:
    coding = MaskCoding(colours=((0, 0, 0), (128, 0, 0), (0, 128, 0)))
    numbers = save(tmp_path / "numbers.png", [[0, 1, 2, 255]])
    colours = save(tmp_path / "colours.png", [[(0, 0, 0), (128, 0, 0), (0, 128, 0), (0, 0, 0)]])
    assert read_labels(numbers, coding).tolist() == [[0, 1, 2, IGNORED]]
    assert read_labels(colours, coding).tolist() == [[0, 1, 2, 0]]
    with pytest.raises(AnnotationError, match=r"numbers\.png: colour 255,255,255 is none of|colour 1,1,1 is none"):
        read_labels(numbers, MaskCoding(colours=((128, 0, 0), (0, 0, 0))))  # 0 would be class 1 by its colour


def test_colours_of_pascal_voc(tmp_path: Path) -> None:
    table = voc_classes()
    assert (table.names[15], table.colours[15], table.colours[20]) == ("person", (192, 128, 128), (0, 64, 128))
    coding = MaskCoding(colours=table.colours, ignored_colours=table.ignored_colours)
    path = save(tmp_path / "m.png", [[(0, 0, 0), (192, 128, 128), (224, 224, 192)]])
    assert read_labels(path, coding).tolist() == [[0, 15, IGNORED]]
    save(path, [[0, 15, 255]])
    assert read_labels(path, coding).tolist() == [[0, 15, IGNORED]]

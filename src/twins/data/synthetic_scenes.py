"""The embedded sample set for dense tasks: real scans of digits, strewn over textured canvases.

Every canvas follows from its part and number alone. Validation canvases show validation scans only.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ..errors import TwinsError
from .digits import read_digits
from .images import ImageSet
from .palette import class_colours
from .randomness import seed_of

SIDE = 96
PARTS = {"training": 1000, "validation": 120}
CLASSES = ("background", *"0123456789")
EMPTY_EVERY = 20  # of the canvases with boxes: detectors meet images without any object


class Digit(NamedTuple):
    """One scan on a canvas: which digit it is, and where its ink lies."""

    label: int  # 0 to 9
    ink: np.ndarray  # (SIDE, SIDE) of bool


class Canvas(NamedTuple):
    image: np.ndarray  # (SIDE, SIDE, 3) of bytes
    digits: Sequence[Digit]


def draw_canvas(scans: ImageSet, part: str, number: int, empty: bool = False) -> Canvas:
    """Several scans of digits, each 32 to 44 pixels high and in a colour of its own, that do not overlap.

    With `empty` the same ground alone.
    """
    rng = np.random.default_rng(seed_of("canvas", part, number))
    image = _texture(rng)
    digits: list[Digit] = []
    taken = np.zeros((SIDE, SIDE), dtype=bool)
    attempts = 0 if empty else rng.integers(8, 33)  # where the place is taken, the scan is left out
    for _ in range(attempts):
        scan = int(rng.integers(len(scans)))
        side = int(rng.integers(32, 45))
        top, left = rng.integers(0, SIDE - side + 1, 2)
        place = np.s_[top : top + side, left : left + side]
        if taken[place].any():
            continue
        strength = _enlarged(np.asarray(scans.images[scan]), side)
        image[place] += strength[..., None] * (_ink_colour(rng, image[place]) - image[place])
        ink = np.zeros((SIDE, SIDE), dtype=bool)
        ink[place] = strength > 0.5
        taken[place] = True
        digits.append(Digit(scans.labels[scan], ink))
    return Canvas(image.clip(0, 255).round().astype(np.uint8), digits)


def write_masked_canvases(root: Path) -> Path:
    """The set in ADE20K's layout under `root`, unless it is there: each digit is a class, what is left is background.

    Raises TwinsError where nothing can be written.
    """
    if root.is_dir():
        return root
    with _renamed_once_whole(root) as beside:
        for (part, count), scans in zip(PARTS.items(), read_digits(), strict=True):
            for kind in ("images", "annotations"):
                (beside / kind / part).mkdir(parents=True)
            for number in range(count):
                canvas = draw_canvas(scans, part, number)
                Image.fromarray(canvas.image).save(beside / "images" / part / f"{number:04d}.png")
                _mask(canvas).save(beside / "annotations" / part / f"{number:04d}.png")
        (beside / "classes.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")
    return root


def write_boxed_canvases(root: Path) -> Path:
    """The set in COCO's layout under `root`, unless it is there: each digit has a box and its ink as a mask.

    The canvases are those of the other layout, but every EMPTY_EVERY-th shows its ground alone. Raises TwinsError where
    nothing can be written.
    """
    if root.is_dir():
        return root
    with _renamed_once_whole(root) as beside:
        (beside / "annotations").mkdir(parents=True)
        for folder, (part, count), scans in zip(("train", "val"), PARTS.items(), read_digits(), strict=True):
            (beside / folder).mkdir()
            canvases = [
                draw_canvas(scans, part, number, empty=(number + 1) % EMPTY_EVERY == 0) for number in range(count)
            ]
            for number, canvas in enumerate(canvases):
                Image.fromarray(canvas.image).save(beside / folder / f"{number:04d}.png")
            instances = beside / "annotations" / f"instances_{folder}.json"
            instances.write_text(json.dumps(_coco_instances(canvases)), encoding="utf-8")
    return root


@contextmanager
def _renamed_once_whole(root: Path) -> Iterator[Path]:
    """A folder to write into, which takes the name `root` at the end. Raises TwinsError where it cannot be written."""
    beside = root.with_name(f"{root.name}.part{os.getpid()}")
    try:
        yield beside
        beside.rename(root)
    except OSError as error:
        shutil.rmtree(beside, ignore_errors=True)
        if not root.is_dir():  # otherwise another process was quicker, with the same images
            raise TwinsError(f"{root}: cannot write the embedded canvases there ({error.strerror})") from error


def _mask(canvas: Canvas) -> Image.Image:
    labels = np.zeros((SIDE, SIDE), dtype=np.uint8)
    for digit in canvas.digits:
        labels[digit.ink] = 1 + digit.label
    mask = Image.fromarray(labels)
    mask.putpalette(class_colours(len(CLASSES)).tobytes())  # for people who open the file; what counts are the indices
    return mask


def _coco_instances(canvases: Sequence[Canvas]) -> dict[str, Any]:
    """What COCO's file of a part says of its images. As in COCO's own, categories and objects count from 1."""
    places = [(number, digit) for number, canvas in enumerate(canvases) for digit in canvas.digits]
    return {
        "images": [
            {"id": number, "file_name": f"{number:04d}.png", "width": SIDE, "height": SIDE}
            for number in range(len(canvases))
        ],
        "annotations": [
            {"id": i, "image_id": number, "category_id": 1 + digit.label, "iscrowd": 0, **_outlined(digit.ink)}
            for i, (number, digit) in enumerate(places, start=1)
        ],
        "categories": [{"id": 1 + label, "name": name} for label, name in enumerate(CLASSES[1:])],
    }


def _outlined(ink: np.ndarray) -> dict[str, Any]:
    """COCO's fields of where an object lies: box, area, and run lengths, for polygons have no holes."""
    rows, columns = (np.flatnonzero(ink.any(axis)) for axis in (1, 0))
    return {
        "bbox": [int(columns[0]), int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1],
        "area": int(ink.sum()),
        "segmentation": {"size": list(ink.shape), "counts": _run_lengths(ink)},
    }


def _run_lengths(ink: np.ndarray) -> list[int]:
    """Down one column after the other, how many pixels in a row have none, some, none ...; none may be 0 at first."""
    pixels = ink.ravel(order="F")
    changes = np.flatnonzero(np.diff(pixels, prepend=False))
    return np.diff(changes, prepend=0, append=pixels.size).tolist()


def _enlarged(scan: np.ndarray, side: int) -> np.ndarray:
    """(8, 8) bytes -> (side, side) in [0, 1], with edges a few pixels wide."""
    smooth = np.asarray(Image.fromarray(scan).resize((side, side), Image.Resampling.BICUBIC), dtype=np.float32) / 255
    return ((smooth - 0.5) * 3 + 0.5).clip(0, 1)


def _texture(rng: np.random.Generator) -> np.ndarray:
    """(SIDE, SIDE, 3): clouds between two colours, stripes across them, and grain."""
    colours = rng.uniform(10, 130, (2, 3))
    clouds = np.sum([_clouds(rng, cells) / cells for cells in (3, 6, 12, 24)], axis=0)
    clouds = (clouds - clouds.min()) / np.ptp(clouds)
    down, right = np.mgrid[:SIDE, :SIDE] / SIDE
    angle, waves = rng.uniform(0, np.pi), rng.uniform(2, 14)
    stripes = np.sin(2 * np.pi * waves * (down * np.sin(angle) + right * np.cos(angle)) + rng.uniform(0, 6))
    shade = clouds + rng.uniform(0, 0.15) * stripes
    image = colours[0] + shade[..., None] * (colours[1] - colours[0])
    return image + rng.normal(0, rng.uniform(0, 8), (SIDE, SIDE, 3))


def _clouds(rng: np.random.Generator, cells: int) -> np.ndarray:
    noise = Image.fromarray(rng.normal(0, 1, (cells, cells)).astype(np.float32))
    return np.asarray(noise.resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=np.float64)


def _ink_colour(rng: np.random.Generator, ground: np.ndarray) -> np.ndarray:
    """A colour that stands out from the ground, as chalk does: brighter, but of any hue."""
    return np.clip(ground.mean() + rng.uniform(80, 130) + rng.normal(0, 25, 3), 0, 255)

"""The embedded sample set for dense tasks: real scans of digits, strewn over textured canvases.

Every canvas follows from its part and number alone. Held-out canvases show held-out scans only.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

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


class Digit(NamedTuple):
    """One scan on a canvas: which digit it is, and where its ink lies."""

    label: int  # 0 to 9
    ink: np.ndarray  # (SIDE, SIDE) of bool


class Canvas(NamedTuple):
    picture: np.ndarray  # (SIDE, SIDE, 3) of bytes
    digits: Sequence[Digit]


def draw_canvas(scans: ImageSet, part: str, number: int) -> Canvas:
    """Several scans of digits, each 32 to 44 pixels high and in a colour of its own, that do not overlap."""
    dice = np.random.default_rng(seed_of("canvas", part, number))
    picture = _texture(dice)
    digits: list[Digit] = []
    taken = np.zeros((SIDE, SIDE), dtype=bool)
    for _ in range(dice.integers(8, 33)):  # attempts: where the place is taken, the scan is left out
        scan = int(dice.integers(len(scans)))
        side = int(dice.integers(32, 45))
        top, left = dice.integers(0, SIDE - side + 1, 2)
        place = np.s_[top : top + side, left : left + side]
        if taken[place].any():
            continue
        strength = _enlarged(np.asarray(scans.pictures[scan]), side)
        picture[place] += strength[..., None] * (_ink_colour(dice, picture[place]) - picture[place])
        ink = np.zeros((SIDE, SIDE), dtype=bool)
        ink[place] = strength > 0.5
        taken[place] = True
        digits.append(Digit(scans.labels[scan], ink))
    return Canvas(picture.clip(0, 255).round().astype(np.uint8), digits)


def write_masked_canvases(root: Path) -> Path:
    """The set in ADE20K's layout under `root`, unless it is there: each digit is a class, what is left is background.

    Raises TwinsError where nothing can be written.
    """
    if root.is_dir():
        return root
    beside = root.with_name(f"{root.name}.part{os.getpid()}")
    try:
        for (part, count), scans in zip(PARTS.items(), read_digits(), strict=True):
            for kind in ("images", "annotations"):
                (beside / kind / part).mkdir(parents=True)
            for number in range(count):
                canvas = draw_canvas(scans, part, number)
                Image.fromarray(canvas.picture).save(beside / "images" / part / f"{number:04d}.png")
                _mask(canvas).save(beside / "annotations" / part / f"{number:04d}.png")
        (beside / "classes.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")
        beside.rename(root)
    except OSError as error:
        shutil.rmtree(beside, ignore_errors=True)
        if not root.is_dir():  # otherwise another process was quicker, with the same pictures
            raise TwinsError(f"{root}: cannot write the embedded canvases there ({error.strerror})") from error
    return root


def _mask(canvas: Canvas) -> Image.Image:
    labels = np.zeros((SIDE, SIDE), dtype=np.uint8)
    for digit in canvas.digits:
        labels[digit.ink] = 1 + digit.label
    mask = Image.fromarray(labels)
    mask.putpalette(class_colours(len(CLASSES)).tobytes())  # for people who open the file; what counts are the indices
    return mask


def _enlarged(scan: np.ndarray, side: int) -> np.ndarray:
    """(8, 8) bytes -> (side, side) in [0, 1], with edges a few pixels wide."""
    smooth = np.asarray(Image.fromarray(scan).resize((side, side), Image.Resampling.BICUBIC), dtype=np.float32) / 255
    return ((smooth - 0.5) * 3 + 0.5).clip(0, 1)


def _texture(dice: np.random.Generator) -> np.ndarray:
    """(SIDE, SIDE, 3): clouds between two colours, stripes across them, and grain."""
    colours = dice.uniform(10, 130, (2, 3))
    clouds = np.sum([_clouds(dice, cells) / cells for cells in (3, 6, 12, 24)], axis=0)
    clouds = (clouds - clouds.min()) / np.ptp(clouds)
    down, right = np.mgrid[:SIDE, :SIDE] / SIDE
    angle, waves = dice.uniform(0, np.pi), dice.uniform(2, 14)
    stripes = np.sin(2 * np.pi * waves * (down * np.sin(angle) + right * np.cos(angle)) + dice.uniform(0, 6))
    shade = clouds + dice.uniform(0, 0.15) * stripes
    picture = colours[0] + shade[..., None] * (colours[1] - colours[0])
    return picture + dice.normal(0, dice.uniform(0, 8), (SIDE, SIDE, 3))


def _clouds(dice: np.random.Generator, cells: int) -> np.ndarray:
    noise = Image.fromarray(dice.normal(0, 1, (cells, cells)).astype(np.float32))
    return np.asarray(noise.resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=np.float64)


def _ink_colour(dice: np.random.Generator, ground: np.ndarray) -> np.ndarray:
    """A colour that stands out from the ground, as chalk does: brighter, but of any hue."""
    return np.clip(ground.mean() + dice.uniform(80, 130) + dice.normal(0, 25, 3), 0, 255)

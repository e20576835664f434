"""The embedded sample set for segmentation and detection: real scans of digits, scattered over textured scenes.

Every scene follows from its part and number alone. Validation scenes show validation scans only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ..atomic_write import atomic_folder
from .classify.dataset import LabelledImages
from .digits import read_digits
from .palette import class_colours
from .randomness import seed_of

SIDE = 96
PARTS = {"training": 1000, "validation": 120}
CLASSES = ("background", *"0123456789")
EMPTY_EVERY = 20  # of the scenes with boxes: detectors meet images without any object
_REMEDY = "the embedded scenes need room there; choose another place, or make room"


class Digit(NamedTuple):
    """One scan in a scene: which digit it is, and where its ink lies."""

    label: int  # 0 to 9
    ink: np.ndarray  # (SIDE, SIDE) bool


class Scene(NamedTuple):
    image: np.ndarray  # (SIDE, SIDE, 3) uint8
    digits: Sequence[Digit]


def draw_scene(scans: LabelledImages, part: str, number: int, empty: bool = False) -> Scene:
    """Several scans of digits, each 32 to 44 pixels high and in a colour of its own, that do not overlap.

    With `empty` the same background alone.
    """
    rng = np.random.default_rng(seed_of("canvas", part, number))  # the key of the published scenes, whatever the word
    image = _texture(rng)
    digits: list[Digit] = []
    taken = np.zeros((SIDE, SIDE), dtype=bool)
    attempts = 0 if empty else rng.integers(8, 33)  # where another one is already, the scan is left out
    for _ in range(attempts):
        scan = int(rng.integers(len(scans)))
        side = int(rng.integers(32, 45))
        top, left = rng.integers(0, SIDE - side + 1, 2)
        area = np.s_[top : top + side, left : left + side]
        if taken[area].any():
            continue
        strength = _enlarged(np.asarray(scans.images[scan]), side)
        image[area] += strength[..., None] * (_ink_colour(rng, image[area]) - image[area])
        ink = np.zeros((SIDE, SIDE), dtype=bool)
        ink[area] = strength > 0.5
        taken[area] = True
        digits.append(Digit(scans.labels[scan], ink))
    return Scene(image.clip(0, 255).round().astype(np.uint8), digits)


def write_masked_scenes(root: Path, counts: Mapping[str, int] = PARTS) -> Path:
    """The set in ADE20K's layout under `root`, unless it is there: each digit is a class, what is left is background.

    `counts` says how many scenes each part has. Raises TwinsError where nothing can be written.
    """
    if root.is_dir():
        return root
    with atomic_folder(root, _REMEDY) as beside:
        for (part, count), scans in zip(counts.items(), read_digits(), strict=True):
            for kind in ("images", "annotations"):
                (beside / kind / part).mkdir(parents=True)
            for number in range(count):
                scene = draw_scene(scans, part, number)
                Image.fromarray(scene.image).save(beside / "images" / part / f"{number:04d}.png")
                _mask(scene).save(beside / "annotations" / part / f"{number:04d}.png")
        (beside / "classes.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")
    return root


def write_boxed_scenes(root: Path, counts: Mapping[str, int] = PARTS) -> Path:
    """The set in COCO's layout under `root`, unless it is there: each digit has a box and its ink as a mask.

    The scenes are those of the other layout, but every EMPTY_EVERY-th shows its background alone. `counts` says how
    many each part has.

    Raises TwinsError where nothing can be written.
    """
    if root.is_dir():
        return root
    with atomic_folder(root, _REMEDY) as beside:
        (beside / "annotations").mkdir()
        for folder, (part, count), scans in zip(("train", "val"), counts.items(), read_digits(), strict=True):
            (beside / folder).mkdir()
            scenes = [draw_scene(scans, part, number, empty=(number + 1) % EMPTY_EVERY == 0) for number in range(count)]
            for number, scene in enumerate(scenes):
                Image.fromarray(scene.image).save(beside / folder / f"{number:04d}.png")
            instances = beside / "annotations" / f"instances_{folder}.json"
            instances.write_text(json.dumps(_coco_instances(scenes)), encoding="utf-8")
    return root


def _mask(scene: Scene) -> Image.Image:
    labels = np.zeros((SIDE, SIDE), dtype=np.uint8)
    for digit in scene.digits:
        labels[digit.ink] = 1 + digit.label
    mask = Image.fromarray(labels)
    mask.putpalette(class_colours(len(CLASSES)).tobytes())  # for people who open the file; what counts are the indices
    return mask


def _coco_instances(scenes: Sequence[Scene]) -> dict[str, Any]:
    """The content of COCO's file of a part. As in COCO's own, categories and objects count from 1."""
    digits = [(number, digit) for number, scene in enumerate(scenes) for digit in scene.digits]
    return {
        "images": [
            {"id": number, "file_name": f"{number:04d}.png", "width": SIDE, "height": SIDE}
            for number in range(len(scenes))
        ],
        "annotations": [
            {"id": i, "image_id": number, "category_id": 1 + digit.label, "iscrowd": 0, **_region(digit.ink)}
            for i, (number, digit) in enumerate(digits, start=1)
        ],
        "categories": [{"id": 1 + label, "name": name} for label, name in enumerate(CLASSES[1:])],
    }


def _region(ink: np.ndarray) -> dict[str, Any]:
    """COCO's fields of where an object lies: box, area, and an RLE, for polygons have no holes."""
    rows, columns = (np.flatnonzero(ink.any(axis)) for axis in (1, 0))
    return {
        "bbox": [int(columns[0]), int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1],
        "area": int(ink.sum()),
        "segmentation": {"size": list(ink.shape), "counts": _run_lengths(ink)},
    }


def _run_lengths(ink: np.ndarray) -> list[int]:
    """The counts of COCO's RLE: down the columns, pixels without ink, with ink, without ...; the first one may be 0."""
    pixels = ink.ravel(order="F")
    changes = np.flatnonzero(np.diff(pixels, prepend=False))
    return np.diff(changes, prepend=0, append=pixels.size).tolist()


def _enlarged(scan: np.ndarray, side: int) -> np.ndarray:
    """(8, 8) uint8 -> (side, side) float32 in [0, 1], with edges a few pixels wide."""
    smooth = np.asarray(Image.fromarray(scan).resize((side, side), Image.Resampling.BICUBIC), dtype=np.float32) / 255
    return ((smooth - 0.5) * 3 + 0.5).clip(0, 1)


def _texture(rng: np.random.Generator) -> np.ndarray:
    """(SIDE, SIDE, 3) float64: clouds between two colours, stripes across them, and grain."""
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


def _ink_colour(rng: np.random.Generator, background: np.ndarray) -> np.ndarray:
    """A colour that stands out from the background, as chalk does: brighter, but of any hue."""
    return np.clip(background.mean() + rng.uniform(80, 130) + rng.normal(0, 25, 3), 0, 255)

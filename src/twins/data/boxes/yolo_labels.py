"""YOLO's text files of labels: a line an object, in shares of the image's sides."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from reprlib import repr as shortened
from typing import NamedTuple

import numpy as np

from ...errors import TwinsError
from .segmentations import SHORTEST_POLYGON
from .yolo_yaml import read_text

_MOST = 2.0  # coordinates are shares of the image's sides, perhaps a little beyond: larger ones are pixels
_MOST_CLASSES = 2**31
_LONG = 1000  # characters of a path, in a message
_BOX = ("x", "y", "width", "height")
_LINE = "`class x y width height`, or `class x y x y x y ...` for a polygon, in shares of the image's sides"


class Label(NamedTuple):
    """An object, in shares of the image's sides."""

    line: int
    label: int
    box: np.ndarray  # (4,): x and y of the corner at the top left, width, height
    polygon: np.ndarray | None  # (points, 2) of x and y


def read_labels(file: Path) -> list[Label]:
    """The objects of an image; none where there is no file. Raises TwinsError with file and line."""
    if not os.path.isfile(file):  # its name may be too long for any file
        return []
    found = []
    for line, text in enumerate(read_text(file).splitlines(), start=1):
        if not text.strip():
            continue
        try:
            found.append(_label(line, text))
        except ValueError as error:
            raise TwinsError(f"{file}:{line}: {error}; expected {_LINE}, not {shortened(text)}") from error
    return found


def label_files(images: Sequence[Path]) -> list[Path]:
    """Each image's file of labels, whether it is there or not.

    In `labels/` for the last `images/` of the path, or beside the image where there is no such folder; beside all
    images where none has its labels there. Raises TwinsError where no image has any.
    """
    usual = [_in_labels(image) for image in images]
    for files in (usual, [image.with_suffix(".txt") for image in images]):
        if any(os.path.isfile(file) for file in files):
            return files
    first = f"{usual[0]}"[:_LONG]
    raise TwinsError(f"{first}: no such file, nor one for any other of {len(images)} images; labels go there")


def labels_without_image(images: Sequence[Path], files: Sequence[Path]) -> list[Path]:
    """Files of labels beside those of these images, of which no image on disk has the name."""
    folders = {(file.parent, image.parent) for file, image in zip(files, images, strict=True)}
    return [
        file
        for labels, folder in sorted(folders)
        if labels != folder and labels.is_dir() and folder.is_dir()
        for stems in [{image.stem for image in folder.iterdir()}]
        for file in sorted(labels.glob("*.txt"))
        if file.stem not in stems
    ]


def _in_labels(image: Path) -> Path:
    folders = list(image.parent.parts)
    for depth in reversed(range(len(folders))):
        if folders[depth] == "images":
            folders[depth] = "labels"
            break
    return Path(*folders, f"{image.stem}.txt")


def _label(line: int, text: str) -> Label:
    """Raises ValueError, naming the field, for anything else than an object."""
    word, *words = text.split()
    label = _class(word)
    if len(words) == len(_BOX):
        values = _shares(_BOX, words)
        size = values[2:]
        return Label(line, label, np.concatenate([values[:2] - size / 2, size]), None)
    if len(words) < SHORTEST_POLYGON or len(words) % 2:
        behind = ", the last one a score?" if len(words) == len(_BOX) + 1 else ""
        raise ValueError(f"{len(words)} numbers behind the class{behind}")
    fields = [f"{axis} of point {point}" for point in range(1, len(words) // 2 + 1) for axis in "xy"]
    points = _shares(fields, words).reshape(-1, 2)
    corner = points.min(axis=0)
    return Label(line, label, np.concatenate([corner, points.max(axis=0) - corner]), points)


def _class(word: str) -> int:
    """A whole number in any notation: 1, 1.0, 1e+00."""
    number = _number("class", word)
    if not number.is_integer() or abs(number) > _MOST_CLASSES:
        raise ValueError(f"class is {shortened(word)}, not a whole number from 0 on")
    return int(number)


def _shares(fields: Sequence[str], words: Sequence[str]) -> np.ndarray:
    try:
        values = np.array(words, dtype=np.float64)
    except ValueError:
        values = np.array([_number(field, word) for field, word in zip(fields, words, strict=True)])
    for index in np.flatnonzero(~(np.abs(values) <= _MOST))[:1]:
        pixels = ", in pixels?" if np.isfinite(values[index]) else ""
        raise ValueError(f"{fields[index]} is {shortened(words[index])}{pixels}")
    return values


def _number(field: str, word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise ValueError(f"{field} is {shortened(word)}, not a number") from None

"""Names of the classes of masks, with the colours or values that masks have for them, from the files that tools write.

Recognised by what they hold, whatever they are called: a name a line, `name,R,G,B`, ADE20K's objectInfo150.txt, CVAT's
labelmap.txt, Roboflow's _classes.csv, the class_dict.csv of CamVid, and the id2label.json of Hugging Face.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...class_names import Colour, Line, numbered_lines, read_names_and_colours, refuse_repeated
from ...errors import TwinsError
from ..folders import part_folders
from .decoding import MOST_CLASSES

USUAL_FILES = (
    "classes.txt",
    "labelmap.txt",
    "_classes.csv",
    "class_dict.csv",
    "objectInfo150.txt",
    "id2label.json",
)

# https://host.robots.ox.ac.uk/pascal/VOC/: colours in this order, and one between the objects that is no class.
VOC = "voc"
_VOC_NAMES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
_VOC_BORDER = (224, 224, 192)

_VALUE = re.compile(r"\d{1,9}", re.ASCII)  # of a pixel
_CVAT = re.compile(r"([^:].*?):((?:\d{1,9}\s*,\s*\d{1,9}\s*,\s*\d{1,9})?):([^:]*):([^:]*)")


@dataclass(frozen=True)
class ClassTable:
    """One name, and one colour or one value where the file has them, for each class; empty where there is no file."""

    names: tuple[str, ...] = ()
    colours: tuple[Colour, ...] = ()
    values: tuple[int, ...] = ()  # only where they are not 0, 1, 2 ...
    ignored_colours: tuple[Colour, ...] = ()
    source: str = ""  # the file


def find_class_table(root: Path, named: str | None) -> ClassTable:
    """The table in the `named` file, `voc` for Pascal VOC's; else the one in a data folder or in its parts' folders.

    Raises TwinsError for a bad file, one that does not have 2 to 255 classes, and parts with different tables.
    """
    if named is not None:
        return voc_classes() if named == VOC and not Path(named).exists() else read_class_table(Path(named))
    path = _usual_file(root)
    if path is not None:
        return read_class_table(path)
    parts = part_folders(root).parts.values()
    tables = [read_class_table(path) for path in map(_usual_file, parts) if path is not None]
    for other in tables[1:]:
        if _content(other) != _content(tables[0]):
            raise TwinsError(
                f"{other.source}: other classes than in {tables[0].source}; write all into {root}/classes.txt"
            )
    return tables[0] if tables else ClassTable()


def _usual_file(folder: Path) -> Path | None:
    if not folder.is_dir():
        return None
    return next((folder / name for name in USUAL_FILES if (folder / name).is_file()), None)


def _content(table: ClassTable) -> tuple[object, ...]:
    return table.names, table.colours, table.values


def voc_classes() -> ClassTable:
    """Pascal VOC's 21 classes, the first of which is the background."""
    colours = tuple(_voc_colour(label) for label in range(len(_VOC_NAMES)))
    return ClassTable(_VOC_NAMES, colours, ignored_colours=(_VOC_BORDER,), source="Pascal VOC's own")


def _voc_colour(label: int) -> Colour:
    """The bits of the label, spread over three channels from the highest bit of each downwards."""
    red, green, blue = (
        sum((label >> 3 * place + channel & 1) << 7 - place for place in range(3)) for channel in range(3)
    )
    return red, green, blue


def read_class_table(path: Path) -> ClassTable:
    """The table in a file of any of these kinds.

    Raises TwinsError, with file and line, where it cannot be read or is inconsistent, or has fewer than 2 or more than
    255 classes.
    """
    table = _read(path)
    if not 2 <= len(table.names) <= MOST_CLASSES:
        raise TwinsError(f"{path}: {len(table.names)} lines with names of classes; expected 2 to {MOST_CLASSES}")
    return table


def _read(path: Path) -> ClassTable:
    if path.suffix.lower() == ".json":
        return _hugging_face(path)
    lines = numbered_lines(path)
    entries = [line for line in lines if not line[1].startswith("#")]
    header = [cell.strip().lower() for cell in lines[0][1].split(",")] if lines else []
    if header == ["pixel value", "class"]:
        return _roboflow(path, lines[1:])
    if entries and all(_CVAT.fullmatch(text) for _, text in entries):
        return _cvat(path, entries)
    names, colours = read_names_and_colours(path)
    return ClassTable(names, colours, source=str(path))


def _cvat(path: Path, lines: Sequence[Line]) -> ClassTable:
    """`name:R,G,B:parts:actions`; masks are in these colours."""
    matches = [match for _, text in lines if (match := _CVAT.fullmatch(text))]
    names = tuple(match[1].strip() for match in matches)
    texts = [match[2] for match in matches]
    for (position, _), text in zip(lines, texts, strict=True):
        if bool(text) != bool(texts[0]):
            raise TwinsError(f"{position}: expected `name:R,G,B::` on every line or `name:::` on every line")
    colours = tuple(
        _colour(position, text.split(",")) for (position, _), text in zip(lines, texts, strict=True) if text
    )
    refuse_repeated(lines, names)
    refuse_repeated(lines, colours)
    return ClassTable(names, colours, source=str(path))


def _colour(position: str, channels: Sequence[str]) -> Colour:
    red, green, blue = map(int, channels)
    if max(red, green, blue) > 255:
        raise TwinsError(f"{position}: a colour is three numbers from 0 to 255, not {red},{green},{blue}")
    return red, green, blue


def _roboflow(path: Path, lines: Sequence[Line]) -> ClassTable:
    """`value, name`, after a line of headings."""
    rows = []
    for position, text in lines:
        cells = _cells(text)
        if len(cells) != 2 or not _VALUE.fullmatch(cells[0].strip()):
            raise TwinsError(f"{position}: expected `value, name`, as under the heading `Pixel Value, Class`")
        rows.append((int(cells[0]), cells[1].strip()))
    refuse_repeated(lines, [value for value, _ in rows])
    refuse_repeated(lines, [name for _, name in rows])
    return _by_value(path, rows)


def _cells(text: str) -> list[str]:
    """Those of a line of CSV; none where it is no such line."""
    try:
        return next(csv.reader([text], skipinitialspace=True))
    except (csv.Error, StopIteration):
        return []


def _hugging_face(path: Path) -> ClassTable:
    """`{"0": "wall", "1": "floor"}`"""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        rows = [(int(value), name) for value, name in content.items()]
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise TwinsError(f'{path}: cannot read names of classes ({error}); expected {{"0": "name", ...}}') from error
    for value, name in rows:
        if not isinstance(name, str):
            raise TwinsError(f"{path}: the name of class {value} is no text: {name!r}")
    if len({name for _, name in rows}) < len(rows) or len(dict(rows)) < len(rows):
        raise TwinsError(f"{path}: two classes share a name or a value; each class has its own")
    return _by_value(path, rows)


def _by_value(path: Path, rows: Sequence[tuple[int, str]]) -> ClassTable:
    ordered = sorted(rows)
    values = tuple(value for value, _ in ordered)
    dense = values == tuple(range(len(values)))
    return ClassTable(tuple(name for _, name in ordered), values=() if dense else values, source=str(path))

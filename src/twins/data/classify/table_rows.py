"""The rows of a table of labels: which column names the image and which the label, by the names that people use."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ...errors import TwinsError
from ..images import IMAGE_SUFFIXES

# Names of columns without what is no letter, the surest first.
_FILE = (
    *("file", "filename", "filepath", "image", "imagefile", "imagefilename", "imagename", "imagepath", "path", "img"),
    *("imgname", "imgpath", "imageid", "imgid", "photo", "picture", "idcode", "id", "name"),
)
_LABEL = (
    *("classname", "labelname", "categoryname", "label", "class", "category", "target", "truth", "groundtruth"),
    *("species", "breed", "diagnosis", "classid", "labelid", "categoryid", "classindex", "labelindex", "y"),
)
_PART = ("split", "subset", "set", "dataset", "partition", "part")
_OF_MASKS = "pixelvalue"  # as Roboflow names the values of masks
_DELIMITERS = ",;\t|"
_SHARES = {"": 0, "0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}  # of a column that stands for a class


class Row(NamedTuple):
    """An image of a table."""

    line: str  # where it stands, as "train.csv:7"
    file: str
    label: str  # "" where it has none
    part: str  # as a column says; "" without one


class Table(NamedTuple):
    """The rows of a table, and what of it was not used, a line each."""

    rows: list[Row]
    warnings: tuple[str, ...] = ()


class _Columns(NamedTuple):
    file: int
    label: int | None  # None where each class has a column of its own
    part: int | None


Line = tuple[int, list[str]]  # its number from 1, and its cells


def read_rows(path: Path) -> Table:
    """Read a table: commas, semicolons or tabs between columns, with names over them or, for two columns, without.

    A column is the image's file (or its name without suffix), one the label; or each class has a column of zeros and
    ones. Raises TwinsError, with file and line, for what is no such table, and for an image of several classes.
    """
    lines = _read_lines(path)
    names = [_key(cell) for cell in lines[0][1]]
    headed = any(name in (*_FILE, *_LABEL, _OF_MASKS) for name in names)
    columns = _columns(path, lines, names) if headed else _columns_without_names(path, lines[0][1])
    width = len(lines[0][1])
    rows = []
    for number, cells in lines[1:] if headed else lines:
        where = f"{path}:{number}"
        if len(cells) != width or not cells[columns.file]:
            what = f"{len(cells)} columns where line {lines[0][0]} has {width}" if len(cells) != width else "no file"
            raise TwinsError(f"{where}: {what}; expected an image and its label, as `cat_01.jpg{_DELIMITERS[0]}cat`")
        label = _the_one_class(where, lines[0][1], cells, columns) if columns.label is None else cells[columns.label]
        rows.append(Row(where, cells[columns.file], label, "" if columns.part is None else cells[columns.part]))
    if not rows:
        raise TwinsError(f"{path}: a table without rows")
    return Table(rows, _unused_labels(path, lines[0][1], columns) if headed else ())


def _read_lines(path: Path) -> list[Line]:
    """The lines that are not blank, with their numbers, as cells without the spaces around them."""
    try:
        content = path.read_bytes()
        utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))  # as Excel writes Unicode text
        text = content.decode("utf-16" if utf16 else "utf-8-sig")
    except OSError as error:
        raise TwinsError(f"{path}: cannot be read ({error})") from error
    except UnicodeDecodeError as error:
        raise TwinsError(f"{path}: is not UTF-8 ({error}); save it as such") from error
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(_DELIMITERS, key=first.count)
    if not first.count(delimiter):
        raise TwinsError(f"{path}: no columns; expected commas, semicolons or tabs in {first[:60]!r}")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    lines = []
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped) and not stripped[0].startswith("sep="):  # by which Excel tells the delimiter
                lines.append((reader.line_num, stripped))
    except csv.Error as error:
        raise TwinsError(f"{path}:{reader.line_num}: {error}") from error
    if not lines:
        raise TwinsError(f"{path}: a table without rows")
    return lines


def _key(name: str) -> str:
    """The name of a column as it is known: "Image Names" is "imagename"."""
    letters = re.sub(r"[\W\d_]+", "", name.lower())
    return letters if letters in (*_FILE, *_LABEL, *_PART) else letters.removesuffix("s")


def _columns(path: Path, lines: Sequence[Line], names: Sequence[str]) -> _Columns:
    file, label, part = (
        next((names.index(name) for name in known if name in names), None) for known in (_FILE, _LABEL, _PART)
    )
    shown = ", ".join(filter(None, lines[0][1]))
    if _OF_MASKS in names:
        raise TwinsError(f"{path}: names the classes of masks ({shown}): pass --task segment")
    if file is None:
        raise TwinsError(f"{path}: no column of images among {shown}; call it `file`")
    others = [index for index, name in enumerate(lines[0][1]) if index not in (file, part) and name]
    if label is None and len(others) == 1:
        label = others[0]
    elif label is None and not (len(others) > 1 and _all_shares(lines[1:], others)):
        raise TwinsError(f"{path}: no column of labels among {shown}; call it `label`")
    return _Columns(file, label, part)


def _columns_without_names(path: Path, first: Sequence[str]) -> _Columns:
    images = [index for index, cell in enumerate(first) if cell.lower().endswith(IMAGE_SUFFIXES)]
    if len(first) != 2 or not images:
        raise TwinsError(
            f"{path}: no names of columns that are known among {', '.join(first)}; call those of the images and the "
            "labels `file` and `label`"
        )
    return _Columns(images[0], 1 - images[0], None)


def _all_shares(lines: Sequence[Line], columns: Sequence[int]) -> bool:
    return all(index >= len(cells) or cells[index].lower() in _SHARES for _, cells in lines for index in columns)


def _the_one_class(where: str, names: Sequence[str], cells: Sequence[str], columns: _Columns) -> str:
    """The class whose column has a one; "" where none has. Raises TwinsError where several have."""
    classes = [
        name
        for index, (name, cell) in enumerate(zip(names, cells, strict=True))
        if index not in (columns.file, columns.part) and name and _SHARES[cell.lower()]
    ]
    if len(classes) > 1:
        raise TwinsError(
            f"{where}: {cells[columns.file]} is of several classes ({', '.join(classes)}): multi-label tables cannot "
            "be learnt by a classifier; leave one class an image"
        )
    return classes[0] if classes else ""


def _unused_labels(path: Path, names: Sequence[str], columns: _Columns) -> tuple[str, ...]:
    """Which columns would have been labels as well."""
    if columns.label is None:
        return ()
    unused = [
        name for index, name in enumerate(names) if index not in (columns.label, columns.file) and _key(name) in _LABEL
    ]
    return (f"{path}: labels are column {names[columns.label]}; not read: {', '.join(unused)}",) if unused else ()

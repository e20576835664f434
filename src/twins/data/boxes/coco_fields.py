"""What the fields of COCO's files may hold: the spellings that other people's tools give them, and their bounds.

Every function raises ValueError, naming field and value, for what is beyond these.
"""

from __future__ import annotations

import re
from array import array
from math import isnan
from reprlib import repr as shortened
from typing import Any

from ...preprocessing import Size
from .segmentations import SHORTEST_POLYGON, WrittenSegmentation, compressed_rle
from .written_numbers import finite_numbers, whole_number

Row = dict[str, Any]
Id = int | str  # text where it spells no whole number

MOST_PIXELS = 2**31  # of an image: a run-length code counts them in 32 bits
LONGEST_SIDE = 2**20  # pixels
FARTHEST = 2.0**31  # pixels, of a box's numbers

_PLAINLY_WHOLE = re.compile(r"-?(0|[1-9]\d{0,18})(\.0+)?", re.ASCII)  # leading zeros tell names of files apart


def identifier(row: Row, field: str) -> Id:
    """A whole number where the field spells one, as 12, 12.0 or "12"; other text, as "0012" or a uuid, as it is."""
    value = row.get(field)
    if type(value) is int and -(2**63) <= value < 2**63:  # as a rule, and there are millions
        return value
    if isinstance(value, str):
        if value and not _PLAINLY_WHOLE.fullmatch(value):
            return value
        value = whole_number(value)
    elif type(value) is float:
        value = whole_number(value)
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise ValueError(_wrong(row, field, "a whole number, or text"))
    return value


def text(row: Row, field: str) -> str:
    value = row.get(field)
    if not isinstance(value, str) or not value:
        raise ValueError(_wrong(row, field, "text"))
    return value


def image_size(row: Row) -> Size | None:
    """(height, width), or None where the file has neither, or 0 for both."""
    written = [row.get("height"), row.get("width")]
    if written == [None, None] or [whole_number(side) for side in written] == [0, 0]:
        return None
    height, width = (_side(row, field) for field in ("height", "width"))
    if height * width > MOST_PIXELS:
        raise ValueError(f"width x height is {width} x {height}; expected no more than {MOST_PIXELS} pixels")
    return height, width


def bounding_box(row: Row) -> list[float] | None:
    """x, y, width, height; None where the field is missing, null or empty."""
    written = row.get("bbox")
    if written is None or written == []:
        return None
    box = finite_numbers(written) if isinstance(written, list) and len(written) == 4 else None
    if box is None or min(box) < -FARTHEST or max(box) > FARTHEST:
        raise ValueError(_wrong(row, "bbox", "four numbers, [x, y, width, height], in pixels"))
    return box


def area(row: Row) -> float | None:
    """In pixels; None where the field is missing, null or not a number, since it follows from the rest."""
    written = row.get("area")
    if type(written) is float and abs(written) <= FARTHEST**2:  # as a rule
        return written
    if written is None or (isinstance(written, float) and isnan(written)):
        return None
    numbers = finite_numbers([written])
    if numbers is None or abs(numbers[0]) > FARTHEST**2:
        raise ValueError(_wrong(row, "area", "a number"))
    return numbers[0]


def is_crowd(row: Row) -> bool:
    """False where the field is missing or null."""
    crowd = row.get("iscrowd") or 0
    if isinstance(crowd, str):
        crowd = whole_number(crowd)
    if crowd not in (0, 1):
        raise ValueError(_wrong(row, "iscrowd", "0 or 1"))
    return crowd == 1


def segmentation(row: Row) -> WrittenSegmentation | None:
    """Polygons or an RLE; polygons of fewer than three points enclose nothing and are left out."""
    written = row.get("segmentation")
    if not written:
        return None
    if isinstance(written, dict):
        return _rle(written)
    polygons = []
    for polygon in written if isinstance(written, list) else [written]:
        numbers = _polygon(polygon)
        if numbers is None:
            wrong = shortened(polygon)
            raise ValueError(f"segmentation holds {wrong}; expected polygons, [x, y, x, y, ...], or run-length code")
        polygons.append(numbers)
    return [polygon for polygon in polygons if len(polygon) >= SHORTEST_POLYGON] or None


def _side(row: Row, field: str) -> int:
    side = whole_number(row.get(field))
    if side is None or not 1 <= side <= LONGEST_SIDE:
        raise ValueError(_wrong(row, field, f"a whole number of pixels from 1 to {LONGEST_SIDE}"))
    return side


def _polygon(written: Any) -> array[float] | None:
    """As an array: of a few numbers each, lists of these take four times the memory."""
    if not isinstance(written, list) or len(written) % 2:
        return None
    numbers = finite_numbers(written)
    try:
        return None if numbers is None else array("d", numbers)
    except OverflowError:  # whole numbers beyond all bounds, with a sum within them
        return None


def _rle(written: Row) -> WrittenSegmentation:
    size = written.get("size")
    sides = [whole_number(side) for side in size] if isinstance(size, list) else []
    within = [side for side in sides if side is not None and 1 <= side <= LONGEST_SIDE]
    if len(within) == len(sides) == 2 and within[0] * within[1] <= MOST_PIXELS:
        written = {**written, "size": within}
    elif isinstance(size, list):
        raise ValueError(f"run-length code of size {shortened(size)}; expected [height, width]")
    return compressed_rle(written)


def _wrong(row: Row, field: str, expected: str) -> str:
    return f"{field} is {shortened(row[field])}; expected {expected}" if field in row else f"no {field}"

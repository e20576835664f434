"""Polygons by their points alone: how far they reach, and which would take gigabytes to rasterise."""

from __future__ import annotations

from collections.abc import Sequence
from math import dist
from typing import Any

import numpy as np

from ...preprocessing import Size

FARTHEST = 2.0**31  # pixels: beyond, numbers stand for nothing
LONGEST = 2.0**23  # pixels along all edges, of which the library keeps 40 bytes each


def may_be_unbounded(numbers: Any, lowest: Any, highest: Any, margin: Any) -> Any:
    """Whether `bounded_polygon` has anything to do with a polygon, or of many with which, (N,) bool.

    It has so many `numbers`, two a point, from `lowest` to `highest`; `margin` is the longer side of its image.
    """
    return (lowest < -margin) | (highest > 2 * margin) | (numbers * 3 * margin > LONGEST)


def bounded_polygon(polygon: Sequence[float], size: Size) -> Sequence[float]:
    """The polygon, x, y, x, y ..., as it is, or where a point is farther out than the image is large the part near it.

    Inside an image of this `size`, (height, width), that is the same but for rounding; of a polygon that comes nowhere
    near it a point is left. Raises ValueError for points beyond all bounds, and for a polygon of too long edges.
    """
    margin = float(max(size))
    lowest, highest = min(polygon), max(polygon)
    if lowest < -margin or highest > 2 * margin:
        if max(highest, -lowest) > FARTHEST:
            raise ValueError(f"a polygon with a point {max(highest, -lowest):.3g} pixels away")
        polygon = _near(polygon, margin) or [-margin] * 6
    if len(polygon) * 3 * margin > LONGEST and (length := _length(polygon)) > LONGEST:
        raise ValueError(f"a polygon of {len(polygon) // 2} points whose edges are {length:.3g} pixels long")
    return polygon


def extents_of_points(objects: Sequence[Sequence[np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Of N objects' polygons, x, y, x, y ...: (N, 4) x0, y0, x1, y1 around their points, and which surely have pixels.

    A region of more pixels than its outline is long has the centre of one inside (Jarnik); twice that allows for points
    that are rounded. It must go around but once: what goes around twice is not inside.
    """
    polygons = [polygon for object in objects for polygon in object]
    starts = np.cumsum([0, *(len(polygon) // 2 for polygon in polygons[:-1])])
    points = np.concatenate(polygons).reshape(-1, 2)
    following = np.empty_like(points)
    following[:-1] = points[1:]
    following[np.append(starts[1:], len(points)) - 1] = points[starts]
    length = np.add.reduceat(np.abs(following - points), starts).sum(axis=1)  # along the axes: no shorter
    area = np.abs(np.add.reduceat(points[:, 0] * following[:, 1] - points[:, 1] * following[:, 0], starts)) / 2
    lowest, highest = np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)
    have_pixels = (area > 2 * length) & (length < 3 * (highest - lowest).sum(axis=1))
    first = np.cumsum([0, *(len(object) for object in objects[:-1])])
    extents = np.hstack([np.minimum.reduceat(lowest, first), np.maximum.reduceat(highest, first)])
    return extents, np.logical_or.reduceat(have_pixels, first)


def _near(polygon: Sequence[float], margin: float) -> list[float]:
    """The part from -margin to 2 margin on both axes, by Sutherland and Hodgman's rule: cut side by side."""
    points = list(zip(polygon[::2], polygon[1::2], strict=True))
    for axis in (0, 1):
        for sign, limit in ((1.0, 2 * margin), (-1.0, margin)):  # what is left has sign * coordinate <= limit
            kept = []
            for before, after in zip(points[-1:] + points[:-1], points, strict=True):
                beyond = [sign * point[axis] - limit for point in (before, after)]
                if (beyond[0] > 0) != (beyond[1] > 0):
                    share = beyond[0] / (beyond[0] - beyond[1])
                    x, y = (a + share * (b - a) for a, b in zip(before, after, strict=True))
                    kept.append((x, y))
                if beyond[1] <= 0:
                    kept.append(after)
            points = kept
    return [number for point in points for number in point]


def _length(polygon: Sequence[float]) -> float:
    points = list(zip(polygon[::2], polygon[1::2], strict=True))
    return sum(map(dist, points, points[1:] + points[:1]))

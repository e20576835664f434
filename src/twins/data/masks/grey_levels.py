"""Values of masks that are grey levels or no class by somebody's convention, not class numbers; and what to do then."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

WHITE = 255
_SPARSE = 4  # class numbers fill at least a quarter of 0 to the largest
_LARGE = 35  # below, gaps say nothing: Cityscapes' numbers go to 33
_BLENDED = 8  # more levels than this besides the two most frequent ones: edges were smoothed
_CONVENTIONS = (254, 255, 65534, 65535, -1)  # values that tools write for no class


def grey_level_error(pixels: Mapping[int, int]) -> str | None:
    """What is wrong with masks that nobody has named classes for, by the pixels of each value; 255 may be among them.

    Class numbers are taken to be dense: where most numbers below the largest never occur, or two values share most
    pixels and the rest is spread thinly over the whole range, they are grey levels.
    """
    frequent = sorted(pixels, key=lambda value: -pixels[value])
    rest = sorted(frequent[2:])
    if _is_wide(rest) and len(rest) > _BLENDED and 2 * sum(map(pixels.__getitem__, rest)) < sum(pixels.values()):
        return (
            f"{len(pixels)} values up to {max(pixels)}, most of them rare, look like grey levels with anti-aliased "
            f"edges, not class numbers; {_threshold(sorted(frequent[:2]))} for two classes, or save masks without "
            f"smoothing; {_if_numbers(rest)}"
        )
    levels = sorted(value for value in pixels if value != WHITE)
    if looks_grey(levels):
        shown = sorted(pixels)
        threshold = f"{_threshold(shown)}, or " if len(shown) == 2 else ""
        return (
            f"values {_listed(shown)} look like grey levels, not class numbers 0 to {len(shown) - 1}; "
            f"{threshold}write into classes.txt {_lines(shown)}; {_if_numbers(levels)}"
        )
    return None


def looks_grey(values: Collection[int]) -> bool:
    """Whether so few of the numbers up to the largest occur that they hardly count classes."""
    return _is_wide(values) and _SPARSE * len(values) < max(values) + 1


def _is_wide(values: Collection[int]) -> bool:
    return max(values, default=0) >= _LARGE


def advice_on_values(values: Sequence[int], classes: int) -> str | None:
    """What to do about a mask with these sorted values, of which some are outside so many classes; None: nothing known.

    `values` are the file's own, without the one that is ignored.
    """
    outside = [value for value in values if not 0 <= value < classes]
    inside = [value for value in values if 0 <= value < classes]
    if outside == [classes] and classes < WHITE - 1:
        return (
            f"{classes} classes are 0 to {classes - 1}: if masks count from 1 and 0 is no class, pass "
            "--reduce-zero-label; else name all classes (--classes)"
        )
    if classes == 2 and inside in ([0], []) and len(outside) == 1 and outside[0] > classes:
        return f"if {outside[0]} is the second class: {_threshold([0, *outside])}; {_or_ignored(outside[0])}"
    if len(outside) == 1 and outside[0] in _CONVENTIONS:
        return f"{_or_ignored(outside[0])}; if it is a class: classes are numbered from 0 to {classes - 1}"
    if len(outside) > _BLENDED:
        return (
            "so many values are grey levels with anti-aliased edges: pass --mask-threshold 128 for two classes, or "
            "save masks as PNG of class numbers without smoothing"
        )
    if looks_grey([value for value in values if value >= 0]) and len(outside) > 1:
        return f"these look like grey levels: write into classes.txt {_lines(values)}"
    return None


def _threshold(two: Sequence[int]) -> str:
    return f"pass --mask-threshold {(two[0] + two[1] + 1) // 2}"


def _or_ignored(value: int) -> str:
    return f"if {value} is no class: --ignore-index {value}"


def _lines(levels: Sequence[int]) -> str:
    """What a file of names and colours holds for these grey levels."""
    lines = [f"`name{i},{v},{v},{v}`" for i, v in enumerate(levels) if v <= WHITE]
    return "a line for each: " + " ".join(lines[:12]) + (" ..." if len(lines) > 12 else "")


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values[:12])) + (" ..." if len(values) > 12 else "")


def _if_numbers(values: Sequence[int]) -> str:
    return f"if they are class numbers, name all of 0 to {max(values)} there, one a line"

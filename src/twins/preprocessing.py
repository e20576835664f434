"""The size that a picture is brought to, by segmenters and detectors alike."""

from __future__ import annotations


def fitted_size(size: tuple[int, int], resize: tuple[int, int], factor: float = 1.0) -> tuple[int, int]:
    """(height, width) of a picture of `size` = (width, height) once it fits (longest, shortest) times `factor`.

    What it has to fit is cut to whole pixels, and what comes of it rounded, as in the published runs.
    """
    longest, shortest = (max(int(side * factor), 1) for side in resize)
    shrink = min(longest / max(size), shortest / min(size))
    width, height = (max(int(side * shrink + 0.5), 1) for side in size)
    return height, width

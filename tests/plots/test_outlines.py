"""Styles of outlines, by their pixels."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from twins.plots.outlines import PLAIN, Style, draw_outline


def outlined(style: Style, unit: int = 1) -> np.ndarray:
    """(60, 60) bool: the pixels of an outline from 10 to 50."""
    image = Image.new("RGB", (60, 60))
    draw_outline(ImageDraw.Draw(image), (10, 10, 50, 50), (255, 0, 0), style, unit)
    pixels = np.array(image)
    assert set(np.unique(pixels[..., 1:])) == {0}
    return pixels[..., 0] == 255


def test_a_plain_one_is_a_line_of_the_units_width() -> None:
    expected = np.zeros((60, 60), dtype=bool)
    expected[10:50, 10:50] = True
    expected[12:48, 12:48] = False
    np.testing.assert_array_equal(outlined(PLAIN, unit=2), expected)


def test_dashes_meet_at_the_corners() -> None:
    drawn = outlined(Style(dash=(5, 4)))
    top = drawn[10, 10:50]
    assert top[:5].all()
    assert top[-5:].all()
    starts = np.flatnonzero(np.diff(top.astype(int), prepend=0) == 1)
    assert 4 <= len(starts) <= 5
    assert 0.5 < top.mean() < 0.8
    for side in (drawn[49, 10:50], drawn[10:50, 10], drawn[10:50, 49]):
        np.testing.assert_array_equal(side, top)
    assert not drawn[11:49, 11:49].any()


def test_a_double_one_has_a_second_line_inside() -> None:
    drawn = outlined(Style(double=True))
    assert drawn[30].nonzero()[0].tolist() == [10, 12, 47, 49]
    assert drawn[:, 30].nonzero()[0].tolist() == [10, 12, 47, 49]


def test_tiny_boxes() -> None:
    for style in (PLAIN, Style(dash=(5, 4)), Style(double=True)):
        image = Image.new("L", (5, 5))
        draw_outline(ImageDraw.Draw(image.convert("RGB")), (2, 2, 2, 2), (255, 0, 0), style, 2)

"""Images of all shapes in lines without gaps."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from twins.plots.gallery import GAP, TALLEST, WIDTH, Position, arrange


def test_by_hand() -> None:
    """Two squares side by side would be higher than the tallest; four of them fill a line."""
    assert arrange([[(10, 10), (500, 500)]], 20) == [
        [Position(0, 20, TALLEST, TALLEST), Position(TALLEST + GAP, 20, TALLEST, TALLEST)]
    ]
    side = round((WIDTH - 3 * GAP) / 4)
    assert [p.left for row in arrange([[(1, 1), (1, 1)]] * 2, 20) for p in row] == [i * (side + GAP) for i in range(4)]
    assert arrange([], 20) == []


def test_images_of_one_shape_are_of_one_size() -> None:
    """Six pairs of 4:3 fill three lines alike, and not four of one and two pairs by turns."""
    positions = arrange([[(120, 160)] * 2] * 6, 20)
    assert [row[0].top for row in positions] == [top for line in range(3) for top in [20 + line * (294 + GAP + 20)] * 2]
    assert {(p.width, p.height) for row in positions for p in row} == {(392, 294)}


@pytest.mark.parametrize("seed", range(3))
def test_lines_are_full_and_images_keep_their_proportions(seed: int) -> None:
    random = np.random.default_rng(seed)
    groups = [[tuple(size)] * 2 for size in random.integers(60, 200, (12, 2)).tolist()]
    positions = arrange(groups, 20)
    for group, row in zip(groups, positions, strict=True):
        for (height, width), position in zip(group, row, strict=True):
            assert position.width == round(position.height * width / height)
            assert 150 < position.height < 720
        assert row[0].top == row[1].top
        assert row[1].left == row[0].left + row[0].width + GAP
    images = [position for row in positions for position in row]
    for one, following in pairwise(images):
        if following.left:
            assert (following.top, following.height) == (one.top, one.height)
            assert following.left == one.left + one.width + GAP
        else:
            assert following.top == one.top + one.height + GAP + 20
            assert abs(one.left + one.width - WIDTH) <= 10  # what rounding to whole pixels adds up to


def test_shapes_that_are_extreme() -> None:
    positions = arrange([[(1, 3000)], [(3000, 1)], [(50, 50)]], 0)
    assert all(p.width >= 1 and p.height >= 1 for row in positions for p in row)
    assert max(p.left + p.width for row in positions for p in row) <= WIDTH + 3000

"""Large grids of parameters: combinations in which every pair of values occurs run always, the others are slow."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product
from typing import Any

import pytest


def every_pair(**axes: Sequence[Any]) -> pytest.MarkDecorator:
    """Parametrise a test by all combinations of the axes' values, most of them marked slow.

    Greedily, the combination with the most pairs of values (of two axes) that did not occur yet comes next, until
    every pair has occurred. The choice depends on nothing but the axes.
    """
    grid = list(product(*(range(len(values)) for values in axes.values())))
    axis_pairs = list(combinations(range(len(axes)), 2))

    def pairs(combination: tuple[int, ...]) -> set[tuple[int, ...]]:
        return {(a, b, combination[a], combination[b]) for a, b in axis_pairs}

    missing = set().union(*map(pairs, grid))
    fast: set[tuple[int, ...]] = set()
    while missing:
        best = max(grid, key=lambda combination: len(pairs(combination) & missing))
        fast.add(best)
        missing -= pairs(best)
    parameters = []
    for combination in grid:
        values = [axis[i] for axis, i in zip(axes.values(), combination, strict=True)]
        marks = () if combination in fast else (pytest.mark.slow,)
        parameters.append(pytest.param(*values, marks=marks, id="-".join(map(str, values))))
    return pytest.mark.parametrize(tuple(axes), parameters)

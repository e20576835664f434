"""Lengths of time as people type them."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from twins.errors import TwinsError
from twins.recipes import ClassifyRecipe
from twins.recipes.durations import seconds_of, updates_or_seconds

NONE = ["", "m", "-5m", "0m", "5 m", "1e3s", "5min", "\u0665m"]


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("5m", 300), ("1.5h", 5400), ("0.5s", 0.5), ("2d", 172800)])
def test_lengths_are_read_in_seconds(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds
    assert updates_or_seconds(text) == (None, seconds)


@pytest.mark.parametrize("text", [*NONE, "5"])
def test_others_are_refused(text: str) -> None:
    with pytest.raises(TwinsError, match=f"^{re.escape(repr(text))} is no length of time above 0; write 90s, 10m"):
        seconds_of(text)


@pytest.mark.parametrize("text", [*NONE, "0", "1.5", "\u0665"])
def test_neither_updates_nor_lengths_are_refused(text: str) -> None:
    with pytest.raises(TwinsError, match=f"^{re.escape(repr(text))} is no number or length of time above 0"):
        updates_or_seconds(text)


def test_updates_are_counted() -> None:
    assert updates_or_seconds("500") == (500, None)


@pytest.mark.parametrize("flag", ["save-every", "grace", "read-timeout", "dist-timeout"])
def test_a_recipe_names_the_flag(flag: str) -> None:
    with pytest.raises(TwinsError, match=f"^--{flag}: 'soon' is "):
        ClassifyRecipe(**{flag.replace("-", "_"): "soon"})


def test_a_recipe_tells_how_long_ranks_wait() -> None:
    assert ClassifyRecipe().rank_timeout == timedelta(minutes=5)
    assert ClassifyRecipe(dist_timeout="40s").rank_timeout == timedelta(seconds=40)

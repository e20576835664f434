"""Sequences that hold many names in little memory."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from twins.data.packed import PackedPaths, PackedStrings, those_at

NAMES = ["", "a", "é\n", os.fsdecode(b"\xe9"), "a/b.png"]


def test_packed_strings_are_a_sequence() -> None:
    packed = PackedStrings(NAMES)
    assert list(packed) == NAMES
    assert (packed[-1], packed[1:3], len(packed)) == ("a/b.png", ["a", "é\n"], 5)
    with pytest.raises(IndexError):
        packed[5]
    assert list(pickle.loads(pickle.dumps(packed))) == NAMES  # noqa: S301
    assert list(those_at(packed, [4, 1])) == ["a/b.png", "a"]
    assert list(PackedStrings.joined([packed, PackedStrings(()), packed])) == NAMES + NAMES
    assert list(PackedStrings(())) == list(PackedStrings.joined([])) == []


def test_packed_paths() -> None:
    paths = PackedPaths(["b", "a/c"])
    assert list(paths) == [Path("b"), Path("a/c")]
    assert paths[:1] == [Path("b")]
    assert isinstance(those_at(paths, [1]), PackedPaths)
    assert those_at([1, 2, 3], [2, 0]) == [3, 1]

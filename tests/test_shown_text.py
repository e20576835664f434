"""Names of files as a terminal may safely show them."""

from __future__ import annotations

import os

import pytest

from twins.shown_text import shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain name.png", "plain name.png"),
        ("Käse 猫.png", "Käse 猫.png"),
        ("a\x1b[2Jb.png", r"a\x1b[2Jb.png"),
        ("two\nlines\r.png", r"two\nlines\r.png"),
        (os.fsdecode(b"caf\xe9.png"), r"caf\xe9.png"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\x9b31m", r"\x9b31m"),
        ("👩\u200d🔬.png", "👩\u200d🔬.png"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text: str, expected: str):
    assert shown(text) == expected
    shown(text).encode("utf-8")

"""The one error: a line that can be read, whatever it quotes."""

from __future__ import annotations

import pickle

from twins.errors import TwinsError


def test_a_line_is_as_it_was_written() -> None:
    assert str(TwinsError("a.pth is empty: download it again")) == "a.pth is empty: download it again"


def test_of_a_long_line_the_middle_is_left_out() -> None:
    error = TwinsError("--lr takes a number, not " + "9" * 100_000 + "; see twins train --help")
    assert len(str(error)) == 1505
    assert str(error).startswith("--lr takes a number, not 999")
    assert str(error).endswith("999; see twins train --help")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301  # as from a worker

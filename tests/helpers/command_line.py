"""Commands that are to be refused."""

from __future__ import annotations

import pytest

from twins.cli import main


def refusal(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one line that a command prints before it exits with 2."""
    assert main(argv) == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    assert error.startswith("twins: ")
    return error

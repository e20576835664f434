"""What training sees is the same on any number of processes and workers, wherever it was stopped."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

LEDGERS = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks/ledgers.py"))


@pytest.mark.parametrize("seed", [1000, 1001, 1002])
def test_random_schedules_leave_the_ledger_as_it_is(seed: int) -> None:
    """All 200 are gone through by benchmarks/ledgers.py."""
    rows, samples = LEDGERS["assert_same_ledger"](seed)
    assert rows >= samples >= 40

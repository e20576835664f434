"""Benchmarks in tests: without pauses and without timing the machine, and on networks that are small."""

from __future__ import annotations

import pytest

from helpers.narrow_networks import use_narrow_networks
from twins import timing
from twins.bench import roofline


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "_PAUSE", 0.0)
    monkeypatch.setattr(roofline, "matmul_speed", lambda dtype, threads, seconds: 100.0)
    monkeypatch.setattr(roofline, "_torch_speed", lambda dtype, seconds: 80.0)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """See `use_narrow_networks`; for one test."""
    use_narrow_networks(monkeypatch)

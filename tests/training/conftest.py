"""Runs without plots, which take longer than training a network of a few thousand parameters."""

from __future__ import annotations

import pytest

from twins.tasks.classify import Classification
from twins.training import run_log


@pytest.fixture
def without_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    for owner, name in ((Classification, "draw"), (Classification, "draw_batch"), (run_log, "draw_curves")):
        monkeypatch.setattr(owner, name, lambda *_: None)

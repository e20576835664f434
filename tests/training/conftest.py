"""Runs without plots."""

from __future__ import annotations

import pytest

from helpers.runs import leave_plots_out


@pytest.fixture
def without_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_plots_out(monkeypatch.setattr)

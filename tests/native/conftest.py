"""What tests of the CPU engine share."""

from __future__ import annotations

import pytest

from twins.native import frozen


@pytest.fixture
def more_threads_than_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many threads as a test asks for, whatever CPUs there are for them."""
    monkeypatch.setattr(frozen, "usable_threads", lambda wanted: (wanted, ""))

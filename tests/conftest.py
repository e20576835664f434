"""What every test shares: one torch thread in a worker, fixed seeds, and hypothesis without clock or dice."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import settings

if "PYTEST_XDIST_WORKER" in os.environ:  # workers that each take every core only wait for one another
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # the processes that tests start

settings.register_profile("suite", deadline=None, derandomize=True, database=None, max_examples=20)
settings.load_profile("suite")


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture
def nan_memory() -> Iterator[None]:
    """Fresh memory holds NaN, so that an output which nobody wrote shows."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True)  # what switches `fill_uninitialized_memory`, true by default, on
    assert torch.empty(1).isnan()
    yield
    torch.use_deterministic_algorithms(before[0], warn_only=before[1])

"""Which outputs count as equal."""

from __future__ import annotations

import math

import pytest
import torch

from twins.bench.parity import Parity, compare
from twins.bench.plan import Backend


@pytest.mark.parametrize(("backend", "scale", "holds"), [
    (Backend("frozen"), 1 + 0.5e-5, True),
    (Backend("frozen"), 1 + 2e-5, False),
    (Backend("openvino"), 1 + 2e-5, True),
    (Backend("openvino"), 1 + 2e-4, False),
    (Backend("frozen", "bf16"), 1.04, True),
    (Backend("frozen", "bf16"), 1.06, False),
    (Backend("frozen", "int8"), 1.19, True),
    (Backend("frozen", "int8"), 1.21, False),
    (Backend("frozen", "int8"), math.nan, False),
    (Backend("openvino", "int8"), 1.19, True),
    (Backend("openvino", "int8"), 1.21, False),
])  # fmt: skip
def test_bounds(backend: Backend, scale: float, holds: bool) -> None:
    reference = torch.randn(4, 1000) * 5
    assert compare(backend, [reference * scale], [reference]).holds is holds


@pytest.mark.parametrize(("backend", "scale", "timed"), [
    (Backend("openvino", "int8"), 1.9, True),
    (Backend("openvino", "int8"), 2.1, False),
    (Backend("openvino", "int8"), math.nan, False),
    (Backend("frozen", "int8"), 1.21, False),
    (Backend("openvino", "bf16"), 1.06, False),
])  # fmt: skip
def test_only_int8_of_others_is_timed_beyond_its_bound(backend: Backend, scale: float, timed: bool) -> None:
    reference = torch.randn(4, 1000)
    parity = compare(backend, [reference * scale], [reference])
    assert (parity.holds, parity.timed) == (False, timed)


def test_the_worst_of_several_maps_counts() -> None:
    maps = [torch.ones(1, 2, 4, 4), torch.ones(1, 4, 2, 2)]
    off = [maps[0], maps[1] * 2]
    assert compare(Backend("twins"), off, maps) == Parity(1.0, 1e-5)
    assert compare(Backend("twins"), [maps[0], maps[1] * math.nan], maps).holds is False
    assert compare(Backend("twins"), maps[:1], maps).holds is False

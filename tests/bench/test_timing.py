"""Blocks by turns, and the roofline."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from twins.bench import roofline
from twins.bench.roofline import Roofline, _torch_speed
from twins.timing import Pace, alternate


class Clock:
    """Time that passes only while something is called, to the second."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def __call__(self) -> float:
        return self.now

    def task(self, name: str, seconds: float) -> Callable[[], None]:
        def call() -> None:
            self.calls.append(name)
            self.now += seconds

        return call


def test_blocks_take_turns_and_the_first_round_does_not_count() -> None:
    clock, times = Clock(), {}
    calls = {"a": clock.task("a", 2.0), "b": clock.task("b", 5.0)}
    rounds: list[int] = []
    alternate(calls, Pace(blocks=3, seconds=4.0), times, lambda: rounds.append(len(clock.calls)), clock)
    assert clock.calls == ["a", "a", "b"] * 4
    assert times == {"a": [2.0] * 3, "b": [5.0] * 3}
    assert rounds == [3, 6, 9, 12]


def test_no_round_begins_after_the_limit_but_one_is_measured() -> None:
    clock, times = Clock(), {}
    alternate({"a": clock.task("a", 60.0)}, Pace(blocks=9, seconds=1.0, limit=100.0), times, clock=clock)
    assert times == {"a": [60.0]}


def test_the_roofline_is_the_median_of_the_better_product(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = iter([100.0, 300.0, 70.0])
    monkeypatch.setattr(roofline, "no_engine", lambda: None)
    monkeypatch.setattr(roofline, "matmul_speed", lambda dtype, threads, seconds: next(ours))
    measured = Roofline({"fp32"})
    for _ in range(3):
        measured.measure()
    assert (measured.gflops("fp32"), measured.gflops("int8")) == (100.0, 0.0)


def test_products_of_pytorch_count_where_the_cpu_multiplies_the_type(monkeypatch: pytest.MonkeyPatch) -> None:
    """The larger of two matrices, in a microsecond a product."""
    monkeypatch.setattr(roofline, "_SIDES", (8, 20))
    monkeypatch.setattr(roofline, "time_block", lambda call, seconds, clock: (call(), 1e-6)[1])
    monkeypatch.setattr(roofline, "instruction_sets", lambda: ["avx512_vnni"])
    monkeypatch.setitem(roofline.IN_HARDWARE, torch.bfloat16, False)
    expected = 2 * 20**3 / 1e-6 / 1e9
    assert [_torch_speed(dtype, 1.0) for dtype in ("fp32", "bf16", "int8")] == pytest.approx([expected, 0.0, expected])
    monkeypatch.setattr(roofline, "instruction_sets", list)
    assert _torch_speed("int8", 1.0) == 0.0

"""Results from times, speedups from results, and the table of a case."""

from __future__ import annotations

import pytest

from helpers.bench_rows import SMALL, make_rows, printed
from twins.bench.parity import Parity
from twins.bench.plan import Backend
from twins.bench.rows import add_speedups, relative_speeds, row_of, speed_row


def test_results_from_times() -> None:
    """Four images in a median of 2 s, of 3 GFLOP each, on 12 GFLOP/s."""
    row = speed_row(row_of(SMALL, "twins fp32"), Parity(0.0, 1.0), [9.0, 2.0, 1.0], 4, 12.0, 3e9)
    assert (row["images_per_second"], row["ms_per_image"], row["blocks"]) == (2.0, 500.0, 3)
    assert row["of_roofline"] == pytest.approx(0.5)


def test_speedups_are_over_timm_and_over_the_same_type_of_openvino() -> None:
    speeds = {("timm", "fp32"): 10.0, ("openvino", "fp32"): 20.0, ("openvino", "bf16"): 40.0, ("frozen", "bf16"): 50.0}
    rows = [row_of(SMALL, Backend(*key).title) | {"images_per_second": speed} for key, speed in speeds.items()]
    add_speedups(rows)
    assert [row["speedup_over_timm"] for row in rows] == [1.0, 2.0, 4.0, 5.0]
    assert [row.get("speedup_over_openvino") for row in rows] == [0.5, 1.0, 1.0, 1.25]


def test_int8_is_put_beside_int8_of_both_runtimes() -> None:
    speeds = {("timm", "fp32"): 10.0, ("timm", "bf16"): 5.0, ("openvino", "int8"): 40.0, ("onnxruntime", "int8"): 20.0}
    speeds |= {("frozen", "bf16"): 20.0, ("frozen", "int8"): 80.0}
    rows = [row_of(SMALL, Backend(*key).title) | {"images_per_second": speed} for key, speed in speeds.items()]
    add_speedups(rows)
    bf16, int8 = rows[-2:]
    assert bf16["speedup_over_timm"] == 4.0
    assert {"speedup_over_openvino", "speedup_over_onnxruntime"}.isdisjoint(bf16)
    peers = ("timm", "openvino", "onnxruntime")
    assert [int8[f"speedup_over_{peer}"] for peer in peers] == [8.0, 2.0, 4.0]


def test_speeds_are_relative_to_timm_in_float32() -> None:
    """In training to timm's of the same precision."""
    speeds = {("timm", "fp32"): 10.0, ("timm", "bf16"): 5.0, ("frozen", "bf16"): 20.0}
    for workload, expected in (("classifier", [1.0, 0.5, 2.0]), ("training", [1.0, 1.0, 4.0])):
        case = SMALL._replace(workload=workload)
        rows = [row_of(case, Backend(*key).title) | {"images_per_second": speed} for key, speed in speeds.items()]
        add_speedups(rows)
        assert [row["relative"] for row in relative_speeds(rows)] == expected


def test_the_table_shows_the_results() -> None:
    shown = printed(make_rows(SMALL, twins=12.5, timm=10.0, openvino=20.0))
    assert "classifier, twins_svt_small, 56 x 56, batch 1" in shown
    assert "Abacus, 2 threads" in shown
    ours = next(line for line in shown.splitlines() if "twins fp32" in line)
    assert ours.split() == ["twins", "fp32", "12.50", "80.0", "1.25", "0.62", "12", "12%", "2.0e-06"]
    assert "OpenVINO fp32: ran fp32" in shown
    assert "peak MB" not in shown

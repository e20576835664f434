"""Which backends of a case get a result, and what becomes of failures and of Ctrl-C."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from helpers.bench_rows import SMALL, printed
from twins.bench import measuring
from twins.bench.measuring import Checked, check_all, measure_case, time_runners
from twins.bench.memory import Memory
from twins.bench.parity import Parity
from twins.bench.plan import Backend
from twins.bench.rows import DIFFERS
from twins.bench.runners import inference_runner
from twins.cli import main
from twins.native import library
from twins.timing import Pace


def test_wrong_outputs_get_no_result() -> None:
    reference = [torch.linspace(-3, 3, 1000)]
    right = inference_runner(Backend("timm"), lambda: reference)
    wrong = inference_runner(Backend("onnxruntime"), lambda: [reference[0] + 1e-3])
    logged: list[str] = []
    measured = time_runners(SMALL, check_all([right, wrong], reference, logged.append), Pace(1, 0.0))
    good, bad = measured.rows
    assert good["speedup_over_timm"] == 1.0
    assert "images_per_second" not in bad
    assert (bad["parity"], logged) == (False, [])
    assert bad["error"] == pytest.approx(1e-3 / 3, rel=1e-3)
    shown = printed(measured.rows)
    assert "differs" in next(line for line in shown.splitlines() if "ONNX Runtime" in line)
    assert "differs" not in next(line for line in shown.splitlines() if "timm eager" in line)


def test_a_speed_with_another_output_is_marked() -> None:
    reference = [torch.linspace(-3, 3, 1000)]
    executed = "82 of 97 products, rest fp32"
    far = inference_runner(Backend("onnxruntime", "int8"), lambda: [1.3 * reference[0]], "int8", executed)
    (row,) = time_runners(SMALL, check_all([far], reference, pytest.fail), Pace(1, 0.0)).rows
    assert row["parity"] is False
    assert row["ms_per_image"] == pytest.approx(1000 / row["images_per_second"])
    assert (row["executed"], row["note"]) == (executed, DIFFERS)
    shown = printed([row])
    assert "3.0e-01 !" in shown
    assert f"ONNX Runtime int8: {executed}; {DIFFERS}" in " ".join(shown.split())


def test_a_failing_backend_is_named_and_the_others_go_on() -> None:
    def fail() -> list[Tensor]:
        raise RuntimeError("no such operator\nand a long story")

    logged: list[str] = []
    outputs = [torch.ones(2)]
    runners = [inference_runner(Backend("openvino"), fail), inference_runner(Backend("twins"), lambda: outputs)]
    assert [c.runner.backend.engine for c in check_all(runners, outputs, logged.append)] == ["twins"]
    assert logged == ["OpenVINO fp32 left out: RuntimeError: no such operator"]


def test_ctrl_c_keeps_complete_blocks() -> None:
    """In the third round: one block of each is complete."""
    calls: list[str] = []

    def work(name: str) -> Callable[[], list[Tensor]]:
        def call() -> list[Tensor]:
            calls.append(name)
            if calls.count(name) == 3:
                raise KeyboardInterrupt
            return [torch.ones(1)]

        return call

    both = [inference_runner(Backend(engine), work(engine)) for engine in ("twins", "timm")]
    checked = [Checked(runner, Parity(0.0, 1.0), 0.0) for runner in both]
    measured = time_runners(SMALL, checked, Pace(5, 0.0))
    assert measured.stopped
    assert [row["blocks"] for row in measured.rows] == [1, 1]


def test_first_outputs_are_the_result_where_they_take_too_long() -> None:
    never = inference_runner(Backend("twins"), lambda: pytest.fail("called again"))
    measured = time_runners(SMALL, [Checked(never, Parity(0.0, 1.0), 200.0)], Pace(limit=180.0))
    assert (measured.rows[0]["ms_per_image"], measured.rows[0]["blocks"]) == (200_000.0, 1)


def test_memory_is_a_row_a_backend_that_could_be_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def memory_of(backend: Backend, *_: object) -> Memory:
        if backend.engine == "frozen":
            raise RuntimeError("killed")
        return Memory(peak=120.5, held=96.25)

    monkeypatch.setattr(measuring, "measure_memory", memory_of)
    logged: list[str] = []
    (row,) = measure_case(SMALL._replace(workload="memory"), Pace(), logged.append).rows
    assert (row["backend"], row["peak_mb"], row["held_mb"]) == ("twins fp32", 120.5, 96.25)
    assert logged == ["twins frozen fp32 left out: RuntimeError: killed"]


@pytest.mark.skipif(library.missing() is not None, reason="the engine is not built")
def test_products_are_measured_for_every_instruction_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the choice of an instruction set rests on: a row for each and dtype, the chosen ones marked."""
    speeds = {name: 100.0 + i for i, name in enumerate(library.instruction_sets())}
    monkeypatch.setattr(measuring, "matmul_speeds", lambda dtype, threads, seconds: speeds)
    assert main(["bench", "--products", "--out", str(tmp_path)]) == 0
    (path,) = tmp_path.glob("cpu-*.json")
    rows = json.loads(path.read_text())["rows"]
    assert {row["backend"]: row["gflops"] for row in rows} == {
        f"{name} {dtype}": speed for dtype in ("fp32", "bf16", "int8") for name, speed in speeds.items()
    }
    chosen = {row["backend"] for row in rows if row["note"] == "chosen"}
    assert chosen == {f"{library.instruction_set(dtype)} {dtype}" for dtype in ("fp32", "bf16", "int8")}
    assert "GFLOP/s" in capsys.readouterr().out

"""The benchmark of GPUs, as far as a machine without one can tell: which backends run, what is missing, speedups."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from twins.bench import gpu, gpu_backends
from twins.bench.backends import infer
from twins.bench.networks import draw_weights, timm_network
from twins.bench.plan import Case
from twins.cli import main
from twins.timing import Pace

NETWORK = "twins_svt_small"


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks what happens without one")
def test_without_a_gpu_it_says_so_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--device", "cuda", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "not measured: no CUDA device\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("size", [(56, 56), (60, 90)])
def test_the_repaired_timm_has_the_same_outputs(size: tuple[int, int]) -> None:
    case = Case("classifier", NETWORK, size, 2, ())
    model, images = timm_network(case, draw_weights(case)), torch.randn(2, 3, *size)
    (expected,) = infer(model, images)
    gpu_backends.repair(model)
    (found,) = infer(model, images)
    assert found.abs().max() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_the_repair_changes_every_window_attention() -> None:
    case = Case("classifier", NETWORK, (56, 56), 1, ())
    model = timm_network(case, draw_weights(case))
    gpu_backends.repair(model)
    repaired = [module for module in model.modules() if "forward" in vars(module)]
    assert len(repaired) == 9


@pytest.fixture
def cpu_as_gpu(narrow: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The CPU instead of a GPU: everything of a benchmark happens, small, but for compiling."""
    for name, value in {
        "synchronize": None, "empty_cache": None, "reset_peak_memory_stats": None,
        "memory_allocated": 1_000_000, "max_memory_allocated": 4_000_000,
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
    monkeypatch.setattr(gpu, "_gpu_name", lambda: "a GPU")
    monkeypatch.setattr(gpu.gc, "collect", lambda: 0)  # half a second each, and nothing here is on a GPU
    monkeypatch.setattr(gpu_backends, "DEVICE", "cpu")
    monkeypatch.setattr(gpu, "PACE", Pace(blocks=1, seconds=0))
    monkeypatch.setattr(gpu, "WORKLOADS", SMALL_WORKLOADS)
    monkeypatch.setattr(gpu, "BACKENDS", tuple(b for b in gpu.BACKENDS if b.mode in ("", "graphed")))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    precision = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(precision)


SMALL_WORKLOADS = (
    ("classifier", (32, 32), 2),
    ("classifier", (32, 32), 1),
    ("backbone", (32, 64), 1),
    ("training", (32, 32), 2),
)


def rows_below(folder: Path) -> list[dict[str, Any]]:
    (path,) = folder.glob("gpu-*.json")
    return json.loads(path.read_text())["rows"]


@pytest.mark.usefixtures("cpu_as_gpu")
def test_every_case_is_measured_written_and_not_measured_again(tmp_path: Path) -> None:
    logged: list[str] = []
    assert gpu.bench_gpu(NETWORK, tmp_path, math.inf, logged.append)
    rows = rows_below(tmp_path)
    assert [line for line in logged if "left out" in line] == []
    assert len(rows) == 4 * 3 + 2  # CUDA graphs where the batch is 1 and nothing is trained
    assert all(0 < row["error"] < row["bound"] and row["speedup_over_baseline"] > 0 for row in rows)
    assert all(row.get("peak_mb") == (None if "graphed" in row["backend"] else 3.0) for row in rows)  # of its own
    (path,) = tmp_path.glob("gpu-*.json")
    assert logged[0] == f"twins: {json.loads(path.read_text())['machine']['twins']}"  # which kernels, if any
    assert sum(row["speedup_over_baseline"] == 1 for row in rows) >= 4
    assert sum(" x timm eager bf16, " in line for line in logged) == 4
    again: list[str] = []
    assert gpu.bench_gpu(NETWORK, tmp_path, math.inf, again.append)
    assert rows_below(tmp_path) == rows
    assert again == [logged[0], *logged[-5:]]


@pytest.mark.usefixtures("cpu_as_gpu")
def test_another_call_measures_what_one_had_no_time_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "WORKLOADS", SMALL_WORKLOADS[1:2])
    logged: list[str] = []
    found = []
    while not gpu.bench_gpu(NETWORK, tmp_path, -math.inf, logged.append):
        assert logged[-1].startswith("the time is up; call again to go on with ")
        found.append({row["backend"] for row in rows_below(tmp_path)})
    found.append({row["backend"] for row in rows_below(tmp_path)})
    titles = [backend.title for backend in gpu.BACKENDS]
    assert found == [set(titles[:1]), set(titles[:2]), set(titles[:3]), set(titles)]
    assert all(row["speedup_over_baseline"] > 0 for row in rows_below(tmp_path))


@pytest.mark.usefixtures("cpu_as_gpu")
def test_failing_or_wrong_backends_get_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(model: torch.nn.Module) -> None:
        raise RuntimeError("no such mode\nand more")

    def wrong(case: Case, backend: object, inputs: gpu_backends.CaseInputs) -> gpu_backends.GpuRunner:
        runner = start(case, backend, inputs)
        if backend != gpu.BACKENDS[1]:
            return runner
        return gpu_backends.GpuRunner(lambda: [1.1 * tensor for tensor in runner.outputs()], runner.work)

    start = gpu.start_on_gpu
    monkeypatch.setattr(gpu, "WORKLOADS", SMALL_WORKLOADS[:1])
    monkeypatch.setattr(gpu_backends, "repair", fail)
    monkeypatch.setattr(gpu, "start_on_gpu", wrong)
    logged: list[str] = []
    assert gpu.bench_gpu(NETWORK, tmp_path, math.inf, logged.append)
    ours, timm, repaired = rows_below(tmp_path)
    assert ours["images_per_second"] > 0
    assert timm["parity"] is False
    assert "images_per_second" not in timm
    assert repaired["note"] == "RuntimeError: no such mode"
    assert logged[3].endswith("timm repaired eager bf16 left out: RuntimeError: no such mode")
    assert "timm eager bf16: output differs by 1.0e-01, not timed" in logged[2]


@pytest.mark.usefixtures("cpu_as_gpu")
def test_a_failure_does_not_keep_the_others_from_their_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(gpu, "WORKLOADS", SMALL_WORKLOADS[:2])
    with monkeypatch.context() as patch:
        patch.setattr(gpu, "make_inputs", fail)
        logged: list[str] = []
        assert gpu.bench_gpu(NETWORK, tmp_path, math.inf, logged.append)
        assert sum(line.endswith("left out: OutOfMemoryError: no room") for line in logged) == 3
        assert not list(tmp_path.glob("*.json"))
    with monkeypatch.context() as patch:
        patch.setattr(gpu, "alternate", fail)
        assert gpu.bench_gpu(NETWORK, tmp_path, math.inf, logged.append)
        assert {row["note"] for row in rows_below(tmp_path)} == {"OutOfMemoryError: no room"}
    assert gpu.bench_gpu(NETWORK, tmp_path, math.inf, logged.append)
    assert all(row["speedup_over_baseline"] > 0 for row in rows_below(tmp_path))
    monkeypatch.setattr(gpu, "versions", lambda: {"git": "another"})
    assert gpu._rows(next(tmp_path.glob("*.json")), NETWORK) == []


def test_all_backends_run_on_a_gpu_the_fastest_to_start_first() -> None:
    runs = [(case.workload, case.batch, b.title) for case, left in gpu._missing(NETWORK, []) for b in left]
    assert len(runs) == len(set(runs)) == 4 * 7 + 2  # CUDA graphs where the batch is 1 and nothing is trained
    modes = [title.rpartition(" ")[0].removeprefix("timm ").removeprefix("repaired ") for *_, title in runs]
    assert modes.index("max-autotune") == 30 - 4
    assert [workload for workload, *_ in runs[:12:3]] == ["classifier", "classifier", "backbone", "training"]


def test_speedups_are_those_of_our_fastest_backend_in_the_same_turns() -> None:
    case = {"network": NETWORK, "workload": "classifier", "size": "224x224", "batch": 256}
    speedups = {"twins eager bf16": 1.0, "twins compiled bf16": 1.5, "timm eager bf16": 0.5, "timm compiled bf16": 0.75}
    rows = [case | {"backend": title, "speedup_over_baseline": speedup} for title, speedup in speedups.items()]
    rows.append(case | {"backend": "timm max-autotune bf16", "note": "failed"})
    assert gpu.speedups(rows) == [
        "twins_svt_small, classifier, 224x224, 256: 3.00 x timm eager bf16, 2.00 x timm compiled bf16"
    ]
    assert gpu.speedups(rows[:2]) == gpu.speedups(rows[2:4]) == gpu.speedups([]) == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_rows_are_written_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "WORKLOADS", (("classifier", (56, 56), 1), ("training", (32, 32), 2)))
    monkeypatch.setattr(gpu, "BACKENDS", gpu.BACKENDS[:2])
    logged: list[str] = []
    assert gpu.bench_gpu(NETWORK, tmp_path, math.inf, logged.append)
    (path,) = tmp_path.glob("gpu-*.json")
    rows = json.loads(path.read_text())["rows"]
    assert len(rows) == 4
    assert all(row["parity"] and row["peak_mb"] > 0 for row in rows), logged

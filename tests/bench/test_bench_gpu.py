"""The benchmark of GPUs, as far as a machine without one can tell: who takes part, what is missing, ratios."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from twins.bench import backends as contenders
from twins.bench import gpu
from twins.bench import gpu_backends as gpu_contenders
from twins.bench.backends import draw_weights, infer, timm_network
from twins.bench.plan import Case
from twins.bench.timing import Pace
from twins.cli import main

NETWORK = "twins_svt_small"


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks what happens without one")
def test_without_a_gpu_it_says_so_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--device", "cuda", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "not measured: no CUDA device\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [(56, 56), (60, 90)])
def test_the_repaired_timm_answers_the_same(size: tuple[int, int]) -> None:
    case = Case("classifier", NETWORK, size, 2, ())
    model, images = timm_network(case, draw_weights(case)), torch.randn(2, 3, *size)
    (expected,) = infer(model, images)
    gpu_contenders.repair(model)
    (found,) = infer(model, images)
    assert not torch.equal(found, torch.zeros_like(found))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_the_repair_changes_every_window_attention() -> None:
    case = Case("classifier", NETWORK, (56, 56), 1, ())
    model = timm_network(case, draw_weights(case))
    gpu_contenders.repair(model)
    repaired = [module for module in model.modules() if "forward" in vars(module)]
    assert len(repaired) == 9


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The CPU in a card's place: everything of a benchmark happens, small, but for compiling."""
    for name, answer in {
        "synchronize": None, "empty_cache": None, "reset_peak_memory_stats": None,
        "memory_allocated": 1_000_000, "max_memory_allocated": 4_000_000,
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, lambda answer=answer: answer)
    monkeypatch.setattr(gpu, "_card", lambda: "a card")
    for module in (contenders, pytest.importorskip("timm")):
        monkeypatch.setattr(module, "create_model", partial(module.create_model, **NARROW))
    monkeypatch.setattr(gpu_contenders, "DEVICE", "cpu")
    monkeypatch.setattr(gpu, "PACE", Pace(blocks=1, seconds=0))
    monkeypatch.setattr(gpu, "WORK", SMALL_WORK)
    monkeypatch.setattr(gpu, "CONTENDERS", tuple(c for c in gpu.CONTENDERS if c.how in ("", "graphed")))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    precision = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(precision)


NARROW = {"embed_dims": (32, 32, 64, 64), "num_heads": (1, 1, 2, 2), "depths": (2, 2, 2, 1), "sr_ratios": (1, 1, 1, 1)}
SMALL_WORK = (
    ("classifier", (32, 32), 2),
    ("classifier", (32, 32), 1),
    ("backbone", (32, 64), 1),
    ("training", (32, 32), 2),
)


def rows_below(folder: Path) -> list[dict[str, Any]]:
    (path,) = folder.glob("gpu-*.json")
    return json.loads(path.read_text())["rows"]


@pytest.mark.usefixtures("card")
def test_every_case_is_measured_written_and_not_measured_again(tmp_path: Path) -> None:
    said: list[str] = []
    assert gpu.bench_gpu(NETWORK, tmp_path, math.inf, said.append)
    rows = rows_below(tmp_path)
    assert [line for line in said if "left out" in line] == []
    assert len(rows) == 4 * 3 + 2  # recordings where the batch is 1 and nothing is trained
    assert all(0 < row["error"] < row["bound"] and row["times_anchor"] > 0 for row in rows)
    assert all(row.get("peak_mb") == (None if "graphed" in row["contender"] else 3.0) for row in rows)  # of its own
    (path,) = tmp_path.glob("gpu-*.json")
    assert said[0] == f"twins: {json.loads(path.read_text())['machine']['twins']}"  # which kernels, if any
    assert sum(row["times_anchor"] == 1 for row in rows) >= 4
    assert sum(" x timm eager bf16, " in line for line in said) == 4
    again: list[str] = []
    assert gpu.bench_gpu(NETWORK, tmp_path, math.inf, again.append)
    assert rows_below(tmp_path) == rows
    assert again == [said[0], *said[-5:]]


@pytest.mark.usefixtures("card")
def test_another_call_measures_what_one_had_no_time_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "WORK", SMALL_WORK[1:2])
    said: list[str] = []
    found = []
    while not gpu.bench_gpu(NETWORK, tmp_path, -math.inf, said.append):
        assert said[-1].startswith("the time is up; call again to go on with ")
        found.append({row["contender"] for row in rows_below(tmp_path)})
    found.append({row["contender"] for row in rows_below(tmp_path)})
    titles = [contender.title for contender in gpu.CONTENDERS]
    assert found == [set(titles[:1]), set(titles[:2]), set(titles[:3]), set(titles)]
    assert all(row["times_anchor"] > 0 for row in rows_below(tmp_path))


@pytest.mark.usefixtures("card")
def test_who_fails_or_is_wrong_gets_no_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(model: torch.nn.Module) -> None:
        raise RuntimeError("no such mode\nand more")

    def wrong(case: Case, contender: object, material: gpu_contenders.Material) -> gpu_contenders.GpuRunner:
        runner = start(case, contender, material)
        if contender != gpu.CONTENDERS[1]:
            return runner
        return gpu_contenders.GpuRunner(lambda: [1.1 * tensor for tensor in runner.answer()], runner.work)

    start = gpu.start_on_gpu
    monkeypatch.setattr(gpu, "WORK", SMALL_WORK[:1])
    monkeypatch.setattr(gpu_contenders, "repair", fail)
    monkeypatch.setattr(gpu, "start_on_gpu", wrong)
    said: list[str] = []
    assert gpu.bench_gpu(NETWORK, tmp_path, math.inf, said.append)
    ours, timm, repaired = rows_below(tmp_path)
    assert ours["images_per_second"] > 0
    assert timm["parity"] is False
    assert "images_per_second" not in timm
    assert repaired["note"] == "RuntimeError: no such mode"
    assert said[3].endswith("timm repaired eager bf16 left out: RuntimeError: no such mode")
    assert "timm eager bf16: differs by 1.0e-01, no figure" in said[2]


@pytest.mark.usefixtures("card")
def test_a_failure_is_no_figure_and_keeps_nobody_else_from_his(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(gpu, "WORK", SMALL_WORK[:2])
    with monkeypatch.context() as patch:
        patch.setattr(gpu, "gather_material", fail)
        said: list[str] = []
        assert gpu.bench_gpu(NETWORK, tmp_path, math.inf, said.append)
        assert sum(line.endswith("left out: OutOfMemoryError: no room") for line in said) == 3
        assert not list(tmp_path.glob("*.json"))
    with monkeypatch.context() as patch:
        patch.setattr(gpu, "alternate", fail)
        assert gpu.bench_gpu(NETWORK, tmp_path, math.inf, said.append)
        assert {row["note"] for row in rows_below(tmp_path)} == {"OutOfMemoryError: no room"}
    assert gpu.bench_gpu(NETWORK, tmp_path, math.inf, said.append)
    assert all(row["times_anchor"] > 0 for row in rows_below(tmp_path))
    monkeypatch.setattr(gpu, "versions", lambda: {"git": "another"})
    assert gpu._rows(next(tmp_path.glob("*.json")), NETWORK) == []


def test_all_ways_take_part_on_a_card_the_quickest_to_start_first() -> None:
    duels = [(case.what, case.batch, c.title) for case, left in gpu._missing(NETWORK, []) for c in left]
    assert len(duels) == len(set(duels)) == 4 * 7 + 2  # recordings where the batch is 1 and nothing is trained
    hows = [title.rpartition(" ")[0].removeprefix("timm ").removeprefix("repaired ") for *_, title in duels]
    assert hows.index("max-autotune") == 30 - 4
    assert [what for what, *_ in duels[:12:3]] == ["classifier", "classifier", "backbone", "training"]


def test_ratios_are_those_of_our_best_form_in_the_same_turns() -> None:
    work = {"network": NETWORK, "what": "classifier", "size": "224x224", "batch": 256}
    beside = {"twins eager bf16": 1.0, "twins compiled bf16": 1.5, "timm eager bf16": 0.5, "timm compiled bf16": 0.75}
    rows = [work | {"contender": title, "times_anchor": times} for title, times in beside.items()]
    rows.append(work | {"contender": "timm max-autotune bf16", "note": "failed"})
    assert gpu.ratios(rows) == [
        "twins_svt_small, classifier, 224x224, 256: 3.00 x timm eager bf16, 2.00 x timm compiled bf16"
    ]
    assert gpu.ratios(rows[:2]) == gpu.ratios(rows[2:4]) == gpu.ratios([]) == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_rows_are_written_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "WORK", (("classifier", (56, 56), 1), ("training", (32, 32), 2)))
    monkeypatch.setattr(gpu, "CONTENDERS", gpu.CONTENDERS[:2])
    said: list[str] = []
    assert gpu.bench_gpu(NETWORK, tmp_path, math.inf, said.append)
    (path,) = tmp_path.glob("gpu-*.json")
    rows = json.loads(path.read_text())["rows"]
    assert len(rows) == 4
    assert all(row["parity"] and row["peak_mb"] > 0 for row in rows), said

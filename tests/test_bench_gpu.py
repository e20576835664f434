"""The benchmark of GPUs, as far as a machine without one can tell: who takes part, what is missing, ratios."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from twins.bench import gpu
from twins.bench.contenders import draw_weights, infer, timm_network
from twins.bench.plan import Case
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
    gpu.repair(model)
    (found,) = infer(model, images)
    assert not torch.equal(found, torch.zeros_like(found))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_the_repair_changes_every_window_attention() -> None:
    case = Case("classifier", NETWORK, (56, 56), 1, ())
    model = timm_network(case, draw_weights(case))
    gpu.repair(model)
    repaired = [module for module in model.modules() if "forward" in vars(module)]
    assert len(repaired) == 9


def test_a_second_call_goes_on_with_what_is_missing(tmp_path: Path) -> None:
    def row(contender: str, batch: int = 256) -> dict[str, object]:
        return {"network": NETWORK, "what": "classifier", "size": "224x224", "batch": batch, "contender": contender}

    path = tmp_path / "gpu.json"
    path.write_text(json.dumps({"rows": [row("twins eager bf16"), row("timm eager bf16", batch=1)]}))
    everything = [(case.what, case.batch, c.title) for case, c in gpu._missing(NETWORK, set())]
    missing = [(case.what, case.batch, c.title) for case, c in gpu._missing(NETWORK, gpu._measured(path, NETWORK))]
    assert set(everything) - set(missing) == {
        ("classifier", 256, "twins eager bf16"), ("classifier", 1, "timm eager bf16"),
    }  # fmt: skip
    assert list(gpu._missing("twins_svt_base", gpu._measured(path, "twins_svt_base"))) != []
    assert len(everything) == 4 * 7 + 2  # graphs where the batch is 1 and nothing is trained
    assert ("training", 256, "timm max-autotune bf16") in everything


def test_ratios_are_those_of_our_best_form() -> None:
    speeds = {
        "twins eager bf16": 20.0,
        "twins compiled bf16": 30.0,
        "timm eager bf16": 10.0,
        "timm repaired eager bf16": 15.0,
    }
    work = {"network": NETWORK, "what": "classifier", "size": "224x224", "batch": 256}
    rows = [work | {"contender": title, "images_per_second": speed} for title, speed in speeds.items()]
    rows.append(work | {"contender": "timm compiled bf16", "note": "failed: RuntimeError"})
    assert gpu.ratios(rows, NETWORK) == [
        "twins_svt_small, classifier, 224x224, 256: 3.00 x timm eager bf16, 2.00 x timm repaired eager bf16"
    ]
    assert gpu.ratios(rows, "twins_svt_base") == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_rows_are_written_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "WORK", (("classifier", (56, 56), 1), ("training", (56, 56), 2)))
    monkeypatch.setattr(gpu, "CONTENDERS", gpu.CONTENDERS[:2])
    said: list[str] = []
    assert gpu.bench_gpu(NETWORK, tmp_path, 400.0, said.append)
    (path,) = tmp_path.glob("gpu-*.json")
    rows = json.loads(path.read_text())["rows"]
    assert len(rows) == 4
    assert all(row["parity"] and row["peak_mb"] > 0 for row in rows), said

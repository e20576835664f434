"""Backends in PyTorch: the same weights, the same outputs as our plain network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from helpers.bench_rows import SMALL
from twins.bench import backends
from twins.bench.backends import infer, missing, start
from twins.bench.networks import draw_weights, our_network, timm_network
from twins.bench.parity import compare
from twins.bench.plan import Backend


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize(
    ("workload", "size"), [("classifier", (56, 56)), ("classifier", (60, 90)), ("backbone", (60, 90))]
)
def test_timm_has_the_same_outputs_where_windows_stick_out(workload: str, size: tuple[int, int]) -> None:
    case = SMALL._replace(workload=workload, size=size)
    weights, images = draw_weights(case), torch.randn(2, 3, *size)
    ours, theirs = (infer(make(case, weights), images) for make in (our_network, timm_network))
    assert len(ours) == (4 if workload == "backbone" else 1)
    assert compare(Backend("twins"), theirs, ours).holds


def test_drawn_weights_leave_nothing_idle() -> None:
    weights = draw_weights(SMALL)
    assert all(weight.abs().max() > 0.05 for weight in weights.values())
    assert torch.equal(weights["head.bias"], draw_weights(SMALL)["head.bias"])


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("engine", ["timm", pytest.param("timm-compiled", marks=pytest.mark.slow)])
def test_timm_under_autocast_is_close(engine: str, tmp_path: Path) -> None:
    weights, images = draw_weights(SMALL), torch.randn(1, 3, 56, 56)
    reference = infer(our_network(SMALL, weights), images)
    found = start(Backend(engine, "bf16"), SMALL, lambda: weights, images, tmp_path)
    assert 1e-4 < compare(found.backend, found.outputs(), reference).error < 0.03


def test_what_is_missing_is_described_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "find_spec", lambda name: None if name == "nncf" else object())
    monkeypatch.setitem(backends.IN_HARDWARE, torch.bfloat16, False)
    assert missing(Backend("openvino", "int8"), "classifier") == (
        'nncf not installed; run: pip install "twins-vit[bench]"'
    )
    assert missing(Backend("openvino", "bf16"), "classifier") is None
    assert "no bfloat16" in str(missing(Backend("timm-compiled", "bf16"), "classifier"))
    assert missing(Backend("timm", "bf16"), "training") is None

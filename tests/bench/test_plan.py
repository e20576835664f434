"""Which backends and cases are measured."""

from __future__ import annotations

from twins.bench.plan import PEERS, choose_backends, choose_training, full_set


def test_backends_take_the_types_they_support() -> None:
    titles = [backend.title for backend in choose_backends()]
    assert titles == [
        *("twins fp32", "twins frozen fp32", "twins frozen bf16", "twins frozen int8", "timm eager fp32"),
        *("timm eager bf16", "timm compiled fp32", "timm compiled bf16", "ONNX Runtime fp32", "ONNX Runtime int8"),
        *("OpenVINO fp32", "OpenVINO bf16", "OpenVINO int8"),
    ]
    int8 = [backend.title for backend in choose_backends(("int8",), PEERS)]
    assert int8 == ["twins frozen int8", "ONNX Runtime int8", "OpenVINO int8"]
    assert [backend.title for backend in choose_training((), amp=True)] == ["twins bf16"]


def test_the_full_set_covers_what_is_published() -> None:
    cases = full_set()
    forward = {(c.network, c.batch) for c in cases if c.workload == "classifier"}
    assert forward == {(n, b) for n in ("twins_svt_small", "twins_svt_base", "twins_pcpvt_small") for b in (1, 16)}
    assert {c.size for c in cases if c.workload == "backbone"} == {(512, 512), (800, 1216)}
    assert [c.backends[0].title for c in cases if c.workload == "training"] == ["twins fp32", "twins bf16"]
    assert sum(c.workload == "memory" for c in cases) == 1
    compiled = {c.network for c in cases for backend in c.backends if backend.engine == "timm-compiled"}
    assert compiled == {"twins_svt_small"}
    for case in cases:
        if case.workload == "classifier":
            assert {b.dtype for b in case.backends if b.engine == "openvino"} == {"fp32", "bf16", "int8"}
        if case.workload == "backbone":
            assert {b.dtype for b in case.backends} == {"fp32", "bf16"}

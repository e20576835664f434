"""What each precision costs in accuracy, on networks that have learnt something."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.tiny import TINY
from twins.bench import accuracy
from twins.bench.accuracy import accuracy_case, digits_weights, load_trained, measure_accuracy
from twins.bench.measuring import measure_case
from twins.bench.plan import DIGITS, Backend, choose_quantised
from twins.native import library
from twins.recipes import find_recipe
from twins.timing import Pace


def test_accuracy_of_a_network_that_learnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten steps of a tiny network on the digits; the newest finished run is taken the next time."""
    tiny = find_recipe(DIGITS, "classify").replace(model_kwargs=TINY, steps_per_epoch=10, warmup_epochs=0)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(accuracy, "EPOCHS", 1)
    monkeypatch.setattr(accuracy, "find_recipe", lambda *_: tiny)
    logged: list[str] = []
    weights = digits_weights(logged.append)
    assert logged == ["no finished run of the digits below runs/: training one of 1 epochs"]
    assert digits_weights(pytest.fail) == weights == Path("runs/classify/digits/checkpoint_best.pth")
    trained = load_trained(weights)
    assert (len(trained.images), len(trained.calibration)) == (360, 128)
    assert trained.images[0].shape == trained.calibration[0].shape == (1, 1, 32, 32)
    first = trained._replace(
        images=trained.images[:100], labels=trained.labels[:100], reference=trained.reference[:100]
    )
    right = (first.reference.argmax(dim=1) == first.labels).float().mean()
    plain = measure_accuracy(Backend("twins"), first, tmp_path)
    assert plain == (pytest.approx(100 * float(right)), 0.0, "")
    if library.missing() is None:
        int8 = measure_accuracy(Backend("frozen", "int8"), first, tmp_path)
        assert 1e-4 < int8.error < 0.1
        assert abs(int8.top1 - plain.top1) <= 3  # images
    case = accuracy_case(weights, choose_quantised(["openvino"]))
    assert (case.size, case.batch, case.network) == ((32, 32), 1, str(weights))
    assert [b.title for b in case.backends][4:] == ["OpenVINO bf16", "OpenVINO int8"]
    monkeypatch.setattr(accuracy, "load_trained", lambda _: first)
    logged.clear()
    (row,) = measure_case(case._replace(backends=(Backend("twins"),)), Pace(), logged.append).rows
    assert (row["top1"], row["error"], row["images"], row["weights"]) == (plain.top1, 0.0, 100, str(weights))
    assert logged == [f"classifier {weights}"]


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "quantiser"), [("onnxruntime", "onnxruntime"), ("openvino", "nncf")])
def test_int8_of_runtimes_keeps_the_accuracy(
    engine: str, quantiser: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("onnx", "onnxscript", engine, quantiser):
        pytest.importorskip(module)
    monkeypatch.chdir(tmp_path)
    trained = load_trained(digits_weights(print))
    plain = measure_accuracy(Backend("twins"), trained, tmp_path)
    found = measure_accuracy(Backend(engine, "int8"), trained, tmp_path)
    assert plain.top1 > 90
    assert abs(found.top1 - plain.top1) < 1
    assert 1e-4 < found.error < 0.1

"""ONNX Runtime and OpenVINO: exported once, the same outputs, and int8 that is executed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from helpers.bench_rows import SMALL
from helpers.narrow_networks import use_narrow_networks
from twins.bench.backends import infer, start
from twins.bench.networks import draw_weights, our_network
from twins.bench.parity import compare
from twins.bench.plan import Backend
from twins.bench.quantisation import draw_calibration
from twins.bench.runners import Weights
from twins.bench.runtimes import export_onnx

INT8 = pytest.mark.parametrize(("engine", "quantiser"), [("onnxruntime", "onnxruntime"), ("openvino", "nncf")])
ODD = SMALL._replace(size=(60, 90))


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> tuple[Weights, Path]:
    """The weights and the folder of one exported network for all tests here, since exporting takes long."""
    for module in ("onnx", "onnxscript"):
        pytest.importorskip(module)
    folder = tmp_path_factory.mktemp("export")
    with pytest.MonkeyPatch.context() as patch:
        use_narrow_networks(patch)
        weights = draw_weights(ODD)
        export_onnx(lambda: our_network(ODD, weights), torch.zeros(1, 3, *ODD.size), folder)
    return weights, folder


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_runtimes_have_the_same_outputs(engine: str, export: tuple[Weights, Path]) -> None:
    pytest.importorskip(engine)
    (weights, folder), images = export, torch.randn(1, 3, *ODD.size)
    reference = infer(our_network(ODD, weights), images)
    found = start(Backend(engine), ODD, lambda: pytest.fail("exported again"), images, folder)
    assert (found.actual_dtype, found.note) == ("fp32", "")
    assert compare(found.backend, found.outputs(), reference).holds


@pytest.mark.slow
@INT8
def test_int8_of_runtimes_is_executed_and_close(
    engine: str, quantiser: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Measured: 7 and 12 % from float32 (at 224 x 224 both 3 %); 82 linear layers and most convolutions are in int8."""
    for module in ("onnx", "onnxscript", engine, quantiser):
        pytest.importorskip(module)
    weights, images = draw_weights(SMALL), torch.randn(1, 3, 56, 56)
    reference = infer(our_network(SMALL, weights), images)
    found = start(Backend(engine, "int8"), SMALL, lambda: weights, images, tmp_path)
    parity = compare(found.backend, found.outputs(), reference)
    assert parity.holds
    assert parity.error > 0.001
    assert found.actual_dtype == "int8"
    assert 80 <= int(found.executed.split()[0]) <= 100
    assert capsys.readouterr().out == ""
    again = start(Backend(engine, "int8"), SMALL, lambda: pytest.fail("exported again"), images, tmp_path)
    assert torch.equal(again.outputs()[0], found.outputs()[0])


def test_calibration_is_always_on_the_same_images() -> None:
    images = draw_calibration(8, (3, 6, 5))
    assert [tuple(batch.shape) for batch in images] == [(8, 3, 6, 5)] * 2
    assert torch.equal(torch.cat(images), torch.cat(draw_calibration(8, (3, 6, 5))))
    assert [len(draw_calibration(batch, (3, 6, 5))) for batch in (1, 16, 32)] == [16, 1, 1]

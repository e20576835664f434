"""int8: most products are executed in it, the last layer is not, and the file says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.export import ExportedProgram

import twins
from helpers.exported import NETWORK, assert_no_path_is_inside, describe
from helpers.frozen_networks import randomised
from twins.export.calibration import Calibration
from twins.export.capture import captured
from twins.export.exportable import Exportable, as_exportable
from twins.export.exporting import export_model
from twins.export.openvino_file import to_openvino
from twins.export.quantisation import to_onnx_int8, to_openvino_int8
from twins.export.shape import Shape
from twins.preprocessing import ClassifyPreprocessing, SegmentPreprocessing
from twins.runtimes.opening import open_exported

# oneDNN, of OpenVINO too, convolves 16 channels of bfloat16 wrongly where stride and kernel are 8, on CPUs with AMX.
WIDE = {**NETWORK, "embed_dims": (32, 32, 64, 64), "depths": (1, 1, 1, 1)}
SIZE = (64, 96)
FACTS = {"data": "noise", "part": "train", "images": 8, "seed": 0}
IMAGES = torch.rand(8, 3, *SIZE, generator=torch.Generator().manual_seed(1))
CALIBRATION = Calibration(list(torch.rand(8, 1, 3, *SIZE, generator=torch.Generator().manual_seed(0))), FACTS)


@pytest.fixture(scope="module")
def graph() -> tuple[Exportable, ExportedProgram]:
    """One small classifier, captured once, since that takes longest."""
    for module in ("onnx", "onnxscript", "onnxruntime", "openvino", "nncf"):
        pytest.importorskip(module)
    network = as_exportable(randomised(twins.create_model("twins_svt_small", **WIDE)), ClassifyPreprocessing())
    return network, captured(network, Shape(None, SIZE), 3, 32)


@pytest.mark.parametrize(("quantise", "suffix"), [(to_onnx_int8, ".onnx"), (to_openvino_int8, ".xml")])
def test_int8_is_executed_close_and_described(
    quantise: Any, suffix: str, graph: tuple[Exportable, ExportedProgram], tmp_path: Path
) -> None:
    """Measured: 2 and 4 % of the largest logit, on a network of random weights."""
    network, program = graph
    written, facts = quantise(program, network, CALIBRATION)
    path = tmp_path / f"network{suffix}"
    written.save(path, describe(network, dtype="int8", sizes=(SIZE,), quantisation=facts))
    assert_no_path_is_inside(path)
    opened = open_exported(path)
    assert facts["calibration"] == FACTS
    assert opened.description.quantisation == facts
    int8, products = (int(word) for word in facts["executed"].split(" products")[0].split(" of "))
    assert 2 * int8 > products
    assert "int8" in opened.runtime
    with torch.no_grad():
        expected = network(IMAGES)["logits"]
    difference = float((opened(IMAGES)["logits"] - expected).abs().max() / expected.abs().max())
    assert 1e-4 < difference < 0.15


def test_last_layer_and_attention_keep_float32(graph: tuple[Exportable, ExportedProgram]) -> None:
    network, program = graph
    model = to_onnx_int8(program, network, CALIBRATION).written.model
    weights = {name for node in model.graph.node if node.op_type == "DequantizeLinear" for name in node.input}
    assert "network.head.weight" in {weight.name for weight in model.graph.initializer}
    assert not any(name.startswith("network.head.weight") for name in weights)
    dequantised = {name for node in model.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    products = [node for node in model.graph.node if node.op_type in ("MatMul", "Gemm", "Conv")]
    kept = [node for node in products if not dequantised.issuperset(node.input[:2])]
    assert len(kept) == 2 * 4 + 1, "two products of each of four attentions, and the head"


@pytest.mark.parametrize(("dtype", "bound"), [("fp16", 5e-3), ("bf16", 5e-2)])
def test_openvino_halves_weights_and_computes_in_what_it_was_written_for(
    dtype: str, bound: float, graph: tuple[Exportable, ExportedProgram], tmp_path: Path
) -> None:
    network, program = graph
    files, sizes = to_openvino(program, network.outputs), {}
    for name in ("fp32", dtype):
        files.save(tmp_path / f"{name}.xml", describe(network, dtype=name, sizes=(SIZE,)))
        sizes[name] = (tmp_path / f"{name}.bin").stat().st_size
    assert sizes[dtype] < 0.6 * sizes["fp32"]
    opened = open_exported(tmp_path / f"{dtype}.xml")
    assert opened.runtime.endswith((f"CPU, {dtype}", "CPU, fp32")), "a CPU without it computes in float32"
    with torch.no_grad():
        expected = network(IMAGES)["logits"]
    found = opened(IMAGES)["logits"]
    assert found.dtype == torch.float32
    assert 0 < float((found - expected).abs().max() / expected.abs().max()) < bound
    assert opened.description.dtype == dtype


@pytest.mark.slow
def test_export_calibrates_on_the_training_images_of_the_run(checkpoint: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    path = export_model(
        checkpoint, "onnx", tmp_path / "network.onnx", img_size=32, dtype="int8", calibration_images=9, say=lines.append
    )
    quantisation = open_exported(path).description.quantisation
    assert quantisation is not None
    assert quantisation["calibration"]["images"] == 9
    assert f"int8 is calibrated on 9 training images of {quantisation['calibration']['data']}" in lines


@pytest.mark.slow
@pytest.mark.parametrize(("quantise", "suffix"), [(to_onnx_int8, ".onnx"), (to_openvino_int8, ".xml")])
def test_a_segmenter_stays_dynamic_in_int8(quantise: Any, suffix: str, tmp_path: Path) -> None:
    """Calibrated on images of several sizes, called with others. Measured: up to 10 % of the largest logit."""
    segmenter = twins.upernet("twins_svt_small", channels=16, auxiliary=False, **WIDE)
    network = as_exportable(randomised(segmenter), SegmentPreprocessing(resize=(96, 64)))
    calibration = Calibration([torch.rand(1, 3, *size) for size in ((64, 80), (96, 64), (70, 90))], FACTS)
    written, facts = quantise(captured(network, Shape(None, None), 3, 32), network, calibration)
    written.save(tmp_path / f"network{suffix}", describe(network, "segment", dtype="int8", quantisation=facts))
    opened = open_exported(tmp_path / f"network{suffix}")
    for images in (torch.rand(2, 3, 33, 57), torch.rand(1, 3, 130, 97)):
        with torch.no_grad():
            expected = network(images)
        found = opened(images)
        assert found["class_map"].shape == expected["class_map"].shape
        difference = (found["logits"] - expected["logits"]).abs().max() / expected["logits"].abs().max()
        assert 1e-4 < float(difference) < 0.3

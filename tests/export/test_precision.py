"""Lower precision: what of a network takes it, and how far the outputs move."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import twins
from helpers.exported import describe
from helpers.frozen_networks import randomised
from helpers.tiny import TINY
from twins.export.capture import captured
from twins.export.exportable import Exportable, as_exportable
from twins.export.onnx_file import to_onnx
from twins.export.precision import in_precision
from twins.export.shape import Shape
from twins.export.trunks import last_layers, outermost_trunks
from twins.preprocessing import ClassifyPreprocessing, SegmentPreprocessing
from twins.runtimes.opening import open_exported

IMAGES = torch.rand(2, 3, 65, 97, generator=torch.Generator().manual_seed(0))


# oneDNN of PyTorch 2.14 convolves 16 channels of bfloat16 wrongly where stride and kernel are 8, on CPUs with AMX.
WIDE = TINY | {"embed_dims": (32, 32, 64, 64)}


def classifier() -> Exportable:
    network = randomised(twins.create_model("twins_pcpvt_small", num_classes=5, **WIDE))
    return as_exportable(network, ClassifyPreprocessing(mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4)))


def segmenter() -> Exportable:
    network = randomised(twins.upernet("twins_svt_small", num_classes=5, channels=16, **WIDE))
    for norm in (module for module in network.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.running_mean.fill_(0.1)
        norm.running_var.fill_(1e-9)  # no number of float16, and the epsilon is a hundred times its smallest one
        norm.weight.data.fill_(0.003)
    return as_exportable(network, SegmentPreprocessing())


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
@pytest.mark.parametrize(("make", "output"), [(classifier, "logits"), (segmenter, "logits")])
def test_outputs_are_float32_and_close(make, output: str, dtype: str) -> None:
    """Measured: 0.001 in float16 and 0.006 in bfloat16 of the largest logit."""
    original = make()
    lower = in_precision(original, dtype)
    with torch.no_grad():
        expected, found = original(IMAGES)[output], lower(IMAGES)[output]
    assert found.dtype == torch.float32
    difference = float((found - expected).abs().max() / expected.abs().max())
    assert 1e-6 < difference < {"fp16": 3e-3, "bf16": 2e-2}[dtype]


def test_weights_are_of_the_dtype_but_for_the_last_layer() -> None:
    original = segmenter()
    lower = in_precision(original, "fp16")
    dtypes = {name: parameter.dtype for name, parameter in lower.named_parameters()}
    kept = {name for name, dtype in dtypes.items() if dtype == torch.float32}
    assert {name.rpartition(".")[0] for name in kept if "auxiliary" not in name} == {"network.decode_head.conv_seg"}
    assert set(dtypes.values()) == {torch.float16, torch.float32}
    assert {parameter.dtype for parameter in original.parameters()} == {torch.float32}, "the original is left alone"


def test_onnx_holds_float16_and_the_runtime_says_what_it_makes_of_it(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    for module in ("onnxscript", "onnxruntime"):
        pytest.importorskip(module)
    network, path, size = classifier(), tmp_path / "network.onnx", (64, 96)
    program = captured(in_precision(network, "fp16"), Shape(None, size), 3, 32)
    to_onnx(program, network.outputs).save(path, describe(network, dtype="fp16", sizes=(size,)))
    graph = onnx.load(path).graph
    weights = {weight.name: weight.data_type for weight in graph.initializer if weight.name.endswith("weight")}
    assert weights.pop("network.head.weight") == onnx.TensorProto.FLOAT
    assert set(weights.values()) == {onnx.TensorProto.FLOAT16}
    opened = open_exported(path)
    assert opened.runtime.endswith("CPUExecutionProvider, weights of fp16, computed in fp32")
    images = torch.rand(3, 3, *size)
    with torch.no_grad():
        expected = network(images)["logits"]
    found = opened(images)["logits"]
    assert found.dtype == torch.float32
    assert 1e-6 < float((found - expected).abs().max() / expected.abs().max()) < 3e-3


def test_float32_is_the_network_itself() -> None:
    network = classifier()
    assert in_precision(network, "fp32") is network
    assert in_precision(network, "int8") is network


def test_trunks_and_last_layers_of_each_kind_of_network() -> None:
    assert (outermost_trunks(classifier()), last_layers(classifier())) == (["network"], ["network.head"])
    assert outermost_trunks(segmenter()) == ["network.backbone", "network.decode_head"]
    assert "network.decode_head.conv_seg" in last_layers(segmenter())
    detector = nn.ModuleDict({"network": twins.mask_rcnn("twins_svt_small", num_classes=3, **TINY)})
    parts = ("backbone", "neck", "rpn_head", "roi_head.bbox_head", "roi_head.mask_head")
    assert outermost_trunks(detector) == [f"network.{part}" for part in parts]
    last = ("rpn_head.rpn_cls", "rpn_head.rpn_reg", "roi_head.bbox_head.fc_cls", "roi_head.bbox_head.fc_reg")
    assert last_layers(detector) == [f"network.{part}" for part in (*last, "roi_head.mask_head.conv_logits")]

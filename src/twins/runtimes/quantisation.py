"""int8 of OpenVINO and ONNX Runtime, by post-training quantisation: NNCF's, and QDQ nodes.

Both are calibrated on images. How much the runtime then really executes in int8 is counted: attention's products, for
one, stay in floating point where int8 is slower.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..optional_dependencies import need
from .one_core import shared_core

OPENVINO_DTYPES = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}
_PRODUCTS = ("Conv", "MatMul", "Gemm")
_RESTS = ("fp32", "bf16")  # in which OpenVINO may compute what is not int8
_TRIALS = 3  # calls of each, of which the shortest counts


class Executed(NamedTuple):
    """What a runtime makes of a quantised network."""

    int8: int  # products, which are convolutions and products of matrices, in int8
    products: int  # all of them
    rest: str  # dtype of the others: "fp32", "bf16" or "fp16"

    @property
    def dtype(self) -> str:
        """Most products must be int8 for the whole to be called so."""
        return "int8" if 2 * self.int8 > self.products else self.rest

    def __str__(self) -> str:
        return f"{self.int8} of {self.products} products, rest {self.rest}"


def openvino_settings(hint: str) -> dict[str, Any]:
    """How OpenVINO compiles a network for one request at a time; `hint`, "f32" or "bf16", for what is not int8."""
    return {
        "INFERENCE_PRECISION_HINT": hint,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }


def openvino_int8(model: Any, batches: Sequence[Tensor], float_nodes: Collection[str] = ()) -> Any:
    """OpenVINO's model in int8, but for the nodes named: NNCF's scheme for transformers, without SmoothQuant.

    That moves the range of activations into weights, which is no faster, and on weights without outlying channels, as
    ours are drawn, takes the logits 0.23 away (relative rms) instead of 0.03. Raises whatever NNCF raises.
    """
    os.environ["NNCF_CI"] = "1"  # or it would report its use to its makers
    nncf = need("nncf", extra="export")
    return nncf.quantize(
        model,
        nncf.Dataset([images.numpy() for images in batches]),
        preset=nncf.QuantizationPreset.MIXED,
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(batches),
        ignored_scope=_ignored_scope(nncf, model, float_nodes) if float_nodes else None,
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(convolution=-1, matmul=-1)
        ),
    )


def _ignored_scope(nncf: Any, model: Any, float_nodes: Collection[str]) -> Any:
    """Concatenation keeps its inputs as they are: NNCF 3.4 fails to give those of UPerNet's pooled maps one scale."""
    return nncf.IgnoredScope(names=_openvino_names(model, float_nodes), types=["Concat"], validate=False)


def _openvino_names(model: Any, nodes: Collection[str]) -> list[str]:
    """What OpenVINO calls these nodes of an ONNX file; a product apart from its bias has a name of its own."""
    wanted = {*nodes, *(f"{name}/WithoutBiases" for name in nodes)}
    return sorted(wanted.intersection(node.get_friendly_name() for node in model.get_ops()))


def fastest_hint(model: Any, images: Tensor) -> tuple[str, Executed]:
    """OpenVINO's word for the dtype in which what is not int8 runs fastest here, and what is executed then."""
    core = shared_core()
    hints = [OPENVINO_DTYPES[rest] for rest in _RESTS]
    compiled = {hint: core.compile_model(model, "CPU", openvino_settings(hint)) for hint in hints}
    hint = min(compiled, key=lambda hint: _shortest_call(compiled[hint], images))
    rest = compiled[hint].get_property("INFERENCE_PRECISION_HINT").get_type_name()  # bf16 only where the CPU has it
    kinds = ("FullyConnected", "Convolution", "MatMul")
    products = [dtype for kind, dtype in executed_layers(compiled[hint]) if kind in kinds]
    int8 = sum(dtype in ("i8", "u8") for dtype in products)
    return hint, Executed(int8, len(products), our_dtype(rest))


def _shortest_call(compiled: Any, images: Tensor) -> float:
    """Seconds; the first call prepares."""
    request, durations = compiled.create_infer_request(), []
    for _ in range(1 + _TRIALS):
        started = time.perf_counter()
        request.infer({0: images.numpy()}, share_inputs=True)
        durations.append(time.perf_counter() - started)
    return min(durations[1:])


def executed_layers(compiled: Any) -> Iterator[tuple[str, str]]:
    """Kind and precision of the layers that OpenVINO's plugin made of a network."""
    for layer in compiled.get_runtime_model().get_ops():
        info = layer.get_rt_info()
        yield info["layerType"].astype(str), info["runtimePrecision"].astype(str)


def our_dtype(theirs: str) -> str:
    """OpenVINO's word for a dtype, in ours."""
    return next(ours for ours, word in OPENVINO_DTYPES.items() if word == theirs)


def onnx_int8(
    source: Path, path: Path, batches: Sequence[Tensor], seven_bits: bool, float_nodes: Collection[str] = ()
) -> None:
    """Write an ONNX file's network in int8, but for the nodes named; whatever was in its metadata is gone.

    Activations are unsigned, weights signed with a scale a channel: what VNNI multiplies. A CPU without VNNI adds two
    such products into 16 bits, which overflow unless weights have `seven_bits`. Products of two activations,
    attention's, stay in float32: quantising them takes longer than it saves. Raises whatever ONNX Runtime raises.
    """
    onnx, quantization = need("onnx", extra="export"), need("onnxruntime.quantization", extra="export")
    graph = onnx.load(source, load_external_data=False).graph
    constants = {weight.name for weight in graph.initializer}
    attention = [node.name for node in graph.node if node.op_type == "MatMul" and node.input[1] not in constants]
    feeds = iter([{graph.input[0].name: images.numpy()} for images in batches])

    class Reader(quantization.CalibrationDataReader):  # type: ignore[name-defined]
        def get_next(self) -> dict[str, Any] | None:
            return next(feeds, None)

    quantization.quantize_static(
        os.fspath(source), os.fspath(path), Reader(), quant_format=quantization.QuantFormat.QDQ, per_channel=True,
        activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
        op_types_to_quantize=list(_PRODUCTS), nodes_to_exclude=[*attention, *float_nodes], reduce_range=seven_bits,
    )  # fmt: skip


def onnx_executed(path: Path) -> Executed:
    """What ONNX Runtime makes of a quantised file on this CPU."""
    onnx, runtime = need("onnx", extra="export"), need("onnxruntime", extra="export")
    optimised, options = path.with_suffix(".optimised"), runtime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = os.fspath(optimised), 3
    runtime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(optimised, load_external_data=False).graph.node]
    optimised.unlink()
    int8 = _count(kinds, ("QLinearConv", "QLinearMatMul", "QGemm", "MatMulIntegerToFloat"))
    return Executed(int8, int8 + _count(kinds, (*_PRODUCTS, "FusedMatMul", "FusedConv", "FusedGemm")), "fp32")


def _count(kinds: Iterable[str], counted: Sequence[str]) -> int:
    return sum(kind in counted for kind in kinds)

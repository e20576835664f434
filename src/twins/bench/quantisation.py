"""int8 of the other runtimes, by post-training quantisation: NNCF for OpenVINO, QDQ nodes for ONNX Runtime.

Both are calibrated on the same images. What the runtime then really executes in int8 is counted once, when the file is
written, and travels in the file: attention's products, for one, stay in floating point where int8 is slower.
"""

from __future__ import annotations

import io
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..optional_dependencies import need
from .machine import instruction_sets

IMAGES = 16  # of a case's shape, that quantisation is calibrated on
OPENVINO_DTYPES = {"fp32": "f32", "bf16": "bf16"}
METADATA = ("actual_dtype", "executed", "hint")  # kept in the files; the hint is for what OpenVINO does not run in int8
_PRODUCTS = ("Conv", "MatMul", "Gemm")
_TRIALS = 3  # calls of each hint, of which the shortest counts


def draw_calibration(batch: int, shape: tuple[int, int, int]) -> list[Tensor]:
    """Images (batch, C, H, W), of `shape` each, distributed as those that are timed, but others; always the same."""
    generator = torch.Generator().manual_seed(2)
    return [torch.randn(batch, *shape, generator=generator) for _ in range(max(1, IMAGES // batch))]


def quantise(engine: str, source: Path, calibration: Callable[[], Sequence[Tensor]], folder: Path) -> Path:
    """An exported network in int8, as a file for `engine`, "openvino" or "onnxruntime"; made once in a folder.

    Raises whatever the library raises.
    """
    path = folder / {"openvino": "network-int8.xml", "onnxruntime": "network-int8.onnx"}[engine]
    if not path.exists():
        with _quietly():
            (_for_openvino if engine == "openvino" else _for_onnxruntime)(source, calibration(), path)
    return path


def openvino_settings(hint: str) -> dict[str, Any]:
    """How OpenVINO compiles a network for one request at a time; `hint`, "f32" or "bf16", for what is not int8."""
    return {
        "INFERENCE_PRECISION_HINT": hint,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }


def _for_openvino(source: Path, calibration: Sequence[Tensor], path: Path) -> None:
    """NNCF's scheme for transformers, but for SmoothQuant.

    It moves the range of activations into weights, which is no faster, and on weights without outlying channels, as
    ours are drawn, takes the logits 0.23 away (relative rms) instead of 0.03.
    """
    os.environ["NNCF_CI"] = "1"  # or it would report its use to its makers
    nncf, openvino = need("nncf", extra="bench"), need("openvino", extra="bench")
    core = openvino.Core()
    model = nncf.quantize(
        core.read_model(os.fspath(source)),
        nncf.Dataset([images.numpy() for images in calibration]),
        preset=nncf.QuantizationPreset.MIXED,
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(calibration),
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(convolution=-1, matmul=-1)
        ),
    )
    compiled = {hint: core.compile_model(model, "CPU", openvino_settings(hint)) for hint in OPENVINO_DTYPES.values()}
    hint = min(compiled, key=lambda hint: _shortest_call(compiled[hint], calibration[0]))
    rest = compiled[hint].get_property("INFERENCE_PRECISION_HINT").get_type_name()  # bf16 only where the CPU has it
    products = [info for info in _executed(compiled[hint]) if info[0] in ("FullyConnected", "Convolution", "MatMul")]
    metadata = _metadata(sum(dtype in ("i8", "u8") for _, dtype in products), len(products), rest)
    for key, value in (metadata | {"hint": hint}).items():
        model.set_rt_info(value, ["twins", key])
    openvino.save_model(model, os.fspath(path), compress_to_fp16=False)


def _shortest_call(compiled: Any, images: Tensor) -> float:
    """Seconds; the first call prepares."""
    request, durations = compiled.create_infer_request(), []
    for _ in range(1 + _TRIALS):
        started = time.perf_counter()
        request.infer({0: images.numpy()}, share_inputs=True)
        durations.append(time.perf_counter() - started)
    return min(durations[1:])


def _executed(compiled: Any) -> Iterator[tuple[str, str]]:
    """Kind and precision of the layers that OpenVINO's plugin made of a network."""
    for layer in compiled.get_runtime_model().get_ops():
        info = layer.get_rt_info()
        yield info["layerType"].astype(str), info["runtimePrecision"].astype(str)


def _for_onnxruntime(source: Path, calibration: Sequence[Tensor], path: Path) -> None:
    """Unsigned activations, signed weights with a scale a channel: what VNNI multiplies.

    Products of two activations, attention's, stay in float32: quantising them takes longer than it saves.
    """
    onnx, runtime = need("onnx", extra="bench"), need("onnxruntime", extra="bench")
    quantization = need("onnxruntime.quantization", extra="bench")
    graph = onnx.load(source, load_external_data=False).graph
    constants = {weight.name for weight in graph.initializer}
    attention = [node.name for node in graph.node if node.op_type == "MatMul" and node.input[1] not in constants]
    feeds = iter([{graph.input[0].name: images.numpy()} for images in calibration])

    class Reader(quantization.CalibrationDataReader):  # type: ignore[name-defined]
        def get_next(self) -> dict[str, Any] | None:
            return next(feeds, None)

    quantization.quantize_static(
        os.fspath(source), os.fspath(path), Reader(), quant_format=quantization.QuantFormat.QDQ, per_channel=True,
        activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
        op_types_to_quantize=list(_PRODUCTS), nodes_to_exclude=attention,
        reduce_range=not _has_vnni(),  # whose predecessor's 16-bit sums would overflow with 8-bit weights
    )  # fmt: skip
    optimised, options = path.with_suffix(".optimised"), runtime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = os.fspath(optimised), 3
    runtime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(optimised, load_external_data=False).graph.node]
    int8 = _count(kinds, ("QLinearConv", "QLinearMatMul", "QGemm", "MatMulIntegerToFloat"))
    quantised = onnx.load(path)
    metadata = _metadata(int8, int8 + _count(kinds, (*_PRODUCTS, "FusedMatMul", "FusedConv", "FusedGemm")), "f32")
    onnx.helper.set_model_props(quantised, metadata)
    onnx.save(quantised, path)
    optimised.unlink()


def _has_vnni() -> bool:
    return not {"avx512_vnni", "avx_vnni", "amx_int8"}.isdisjoint(instruction_sets())


def _count(kinds: Iterable[str], counted: Sequence[str]) -> int:
    return sum(kind in counted for kind in kinds)


def _metadata(int8: int, products: int, rest: str) -> dict[str, str]:
    """What is kept in the file; most products must be int8 for the whole to be called so."""
    rest = {theirs: ours for ours, theirs in OPENVINO_DTYPES.items()}[rest]
    return {
        "actual_dtype": "int8" if 2 * int8 > products else rest,
        "executed": f"{int8} of {products} products, rest {rest}",
    }


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the progress bars, the advice and the deprecation warnings that both libraries print."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"), redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)

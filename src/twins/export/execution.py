"""What really ran in an exported network, and in which precision, as its runtime itself says it afterwards."""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from pathlib import Path

from torch import Tensor

from ..errors import TwinsError
from ..optional_dependencies import need
from ..runtimes.network import ExportedNetwork
from ..runtimes.onnx_runtime import OnnxNetwork
from ..runtimes.openvino_runtime import OpenVinoNetwork
from ..runtimes.quantisation import executed_layers

# Operators and layers whose precision decides speed and accuracy: products, as the two runtimes call them.
_PRODUCTS = ("MatMul", "Gemm", "Conv", "FullyConnected", "Deconvolution")
_CAST = "Convert"  # OpenVINO's, which is no convolution
_PRECISIONS = {"float": "fp32", "float16": "fp16", "bfloat16": "bf16", "int8": "int8", "uint8": "int8",
               "f32": "fp32", "f16": "fp16", "bf16": "bf16", "i8": "int8", "u8": "int8"}  # fmt: skip


def executed_by(network: ExportedNetwork, images: Tensor) -> dict[str, int]:
    """How many operators ran where, and products in which precision: {"CPUExecutionProvider": 310, "fp32 products": 9}.

    Empty for PyTorch's programs, which PyTorch runs whole. Raises TwinsError where a part of the network ran elsewhere
    than it was to run.
    """
    match network:
        case OnnxNetwork():
            where, products = _by_onnxruntime(network, images)
            wanted = network.session.get_providers()[0]
        case OpenVinoNetwork():
            where, products = _by_openvino(network)
            wanted = "CPU"
        case _:
            return {}
    if set(where) - {wanted}:
        elsewhere = ", ".join(f"{count} on {name}" for name, count in where.items() if name != wanted)
        raise TwinsError(f"{network.path}: {elsewhere} of its operators fell back from {wanted}: take another --device")
    return {**where, **{f"{precision} products": count for precision, count in products.items()}}


def _by_onnxruntime(network: OnnxNetwork, images: Tensor) -> tuple[Counter[str], Counter[str]]:
    """From the profile of one call."""
    onnxruntime = need("onnxruntime", extra="export")
    options = onnxruntime.SessionOptions()
    options.enable_profiling, options.log_severity_level = True, 3
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = os.fspath(Path(folder, "profile"))
        session = onnxruntime.InferenceSession(
            os.fspath(network.path), options, providers=network.session.get_providers()
        )
        session.run(None, {"images": images.contiguous().numpy()})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    nodes = {event["name"]: event["args"] for event in events if "provider" in event.get("args", {})}
    where = Counter(node["provider"] for node in nodes.values() if node["provider"])
    products = Counter(
        _PRECISIONS.get(next(iter(node["input_type_shape"][0])), "other")
        for node in nodes.values()
        if _is_product(node["op_name"]) and node.get("input_type_shape")
    )
    return where, products


def _by_openvino(network: OpenVinoNetwork) -> tuple[Counter[str], Counter[str]]:
    """From the graph that its plugin made of the network."""
    layers = list(executed_layers(network.compiled))
    devices = network.compiled.get_property("EXECUTION_DEVICES")
    where = Counter({device: len(layers) // len(devices) for device in devices})
    return where, Counter(_PRECISIONS.get(precision, "other") for kind, precision in layers if _is_product(kind))


def _is_product(kind: str) -> bool:
    return kind != _CAST and any(product in kind for product in _PRODUCTS)

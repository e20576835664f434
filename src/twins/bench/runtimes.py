"""ONNX Runtime and OpenVINO: both run a file of our network at one fixed shape, as it is or quantised to int8."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ..optional_dependencies import need
from ..runtimes.one_core import shared_core
from ..runtimes.quantisation import OPENVINO_DTYPES, openvino_settings
from .plan import Backend
from .quantisation import METADATA, quantise
from .runners import Loaded, Outputs

RUNTIMES = ("onnxruntime", "openvino")


def export_onnx(network: Callable[[], nn.Module], images: Tensor, folder: Path) -> Path:
    """Write the network at the fixed shape of the images, unless the folder has it, and return the file."""
    path = folder / "network.onnx"
    if not path.exists():
        torch.onnx.export(network(), (images,), path, dynamo=True, verbose=False)
    return path


def model_file(
    backend: Backend,
    network: Callable[[], nn.Module],
    images: Tensor,
    calibration: Callable[[], Sequence[Tensor]],
    folder: Path,
) -> Path:
    """What the backend's runtime loads, made once in a folder; `calibration` draws batches of the images' shape.

    Raises whatever exporter and quantiser raise.
    """
    path = export_onnx(network, images, folder)
    return quantise(backend.engine, path, calibration, folder) if backend.dtype == "int8" else path


def load_runtime(backend: Backend, path: Path) -> Loaded:
    """Load a file of `model_file`. Raises whatever the runtime raises."""
    return (_onnxruntime if backend.engine == "onnxruntime" else _openvino)(backend.dtype, path)


def _onnxruntime(dtype: str, path: Path) -> Loaded:
    runtime = need("onnxruntime", extra="bench")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def call(images: Tensor) -> Outputs:
        return [torch.from_numpy(output) for output in session.run(None, {name: images.numpy()})]

    if dtype == "int8":
        metadata = session.get_modelmeta().custom_metadata_map
        return Loaded(call, metadata["actual_dtype"], metadata["executed"])
    return Loaded(call, dtype)


def _openvino(dtype: str, path: Path) -> Loaded:
    """OpenVINO computes in float32, unasked, where the CPU has no bfloat16: what it chose is noted."""
    core = shared_core()
    model = core.read_model(os.fspath(path))
    metadata = {key: model.get_rt_info(["twins", key]).astype(str) for key in METADATA} if dtype == "int8" else {}
    compiled = core.compile_model(model, "CPU", openvino_settings(metadata.get("hint") or OPENVINO_DTYPES[dtype]))
    request = compiled.create_infer_request()

    def call(images: Tensor) -> Outputs:
        outputs = request.infer({0: images.numpy()}, share_inputs=True, share_outputs=True)
        return [torch.from_numpy(outputs[i]) for i in range(len(compiled.outputs))]

    if metadata:
        return Loaded(call, metadata["actual_dtype"], metadata["executed"])
    chosen = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    return Loaded(call, {theirs: ours for ours, theirs in OPENVINO_DTYPES.items()}[chosen])

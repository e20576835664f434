"""A graph as OpenVINO's two files, made from its ONNX form."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from torch.export import ExportedProgram

from ..optional_dependencies import need
from ..quiet import quietly
from ..runtimes.description import KEY, Description
from .onnx_file import OnnxFile, to_onnx
from .written import Written

NEEDED = ("openvino", "onnx", "onnxscript")


class OpenVinoFiles(Written):
    """Graph and description in a .xml file, weights in the .bin file of the same stem, as `to_openvino` converts it."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def save(self, path: Path, description: Description) -> None:
        self.model.set_rt_info(description.to_json(), [KEY])
        halved = description.dtype in ("fp16", "bf16")  # OpenVINO keeps no bfloat16: weights are float16 in the file
        need("openvino", extra="export").save_model(self.model, os.fspath(path), compress_to_fp16=halved)


def to_openvino(program: ExportedProgram, outputs: tuple[str, ...]) -> OpenVinoFiles:
    """Convert a captured network. Raises TwinsError where openvino, onnx or onnxscript is not installed.

    Raises also whatever the converters raise, for operators that they do not have.
    """
    need("openvino", extra="export")
    return from_onnx(to_onnx(program, outputs))


def from_onnx(onnx_file: OnnxFile) -> OpenVinoFiles:
    """Convert what is an ONNX file already. Raises RuntimeError for operators that OpenVINO does not have."""
    with tempfile.TemporaryDirectory() as folder, quietly():
        path = os.fspath(Path(folder, "network.onnx"))
        onnx_file.program.save(path)
        return OpenVinoFiles(need("openvino", extra="export").convert_model(path))

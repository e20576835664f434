"""Graphs as files in int8, calibrated on training images."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor
from torch.export import ExportedProgram

from ..optional_dependencies import need
from ..quiet import quietly
from ..runtimes.description import KEY, Description
from ..runtimes.quantisation import Executed, fastest_hint, onnx_executed, onnx_int8, openvino_int8
from .calibration import Calibration
from .exportable import Exportable
from .onnx_file import forget_recording, to_onnx
from .openvino_file import OpenVinoFiles, from_onnx
from .trunks import float_nodes
from .written import Written

# Weights have seven bits, since who runs the file may have a CPU without VNNI, whose sums overflow with eight.
_SEVEN_BITS = True


class Quantised(NamedTuple):
    """A converted network in int8, and what its description tells of that."""

    written: Written
    facts: dict[str, Any]  # what of it is int8, the dtype of the rest, and the images it was calibrated on


class QuantisedOnnxFile(Written):
    """One .onnx file, as ONNX Runtime's quantiser left it."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def save(self, path: Path, description: Description) -> None:
        onnx = need("onnx", extra="export")
        forget_recording(self.model)
        onnx.helper.set_model_props(self.model, {KEY: description.to_json()})
        onnx.save(self.model, path)


def to_onnx_int8(program: ExportedProgram, network: Exportable, calibration: Calibration) -> Quantised:
    """Static quantisation in QDQ nodes. Raises as `to_onnx`, and whatever ONNX Runtime raises."""
    exported = to_onnx(program, network.outputs)
    with tempfile.TemporaryDirectory() as folder, quietly():
        source, path = Path(folder, "network.onnx"), Path(folder, "network-int8.onnx")
        exported.program.save(os.fspath(source))
        kept = float_nodes(exported.program.model_proto.graph, network)
        onnx_int8(source, path, calibration.batches, _SEVEN_BITS, kept)
        written = QuantisedOnnxFile(need("onnx", extra="export").load(path))
        return Quantised(written, _facts(onnx_executed(path), calibration))


def to_openvino_int8(program: ExportedProgram, network: Exportable, calibration: Calibration) -> Quantised:
    """NNCF's post-training quantisation. Raises as `to_onnx`, and whatever OpenVINO and NNCF raise."""
    exported = to_onnx(program, network.outputs)
    kept = float_nodes(exported.program.model_proto.graph, network)
    with quietly():
        batches = _of_one_size(calibration.batches)
        model = openvino_int8(from_onnx(exported).model, batches, kept)
        _, executed = fastest_hint(model, batches[0])
    return Quantised(OpenVinoFiles(model), _facts(executed, calibration))


def _of_one_size(batches: Sequence[Tensor]) -> list[Tensor]:
    """Stretched to the first one's: OpenVINO 2026.4, as NNCF runs it, mixes up the kernels of several sizes."""
    size = batches[0].shape[-2:]
    return [images if images.shape[-2:] == size else F.interpolate(images, size, mode="bilinear") for images in batches]


def _facts(executed: Executed, calibration: Calibration) -> dict[str, Any]:
    return {"executed": str(executed), "rest": executed.rest, "calibration": calibration.facts}

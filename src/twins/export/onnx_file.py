"""A graph as an ONNX file."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.export import ExportedProgram

from ..optional_dependencies import need
from ..runtimes.description import KEY, Description


def write_onnx(program: ExportedProgram, description: Description, path: Path) -> None:
    """Write a captured network, its weights and its description into one file.

    Raises TwinsError where onnx or onnxscript is not installed, and whatever the exporter raises.
    """
    for module in ("onnx", "onnxscript"):
        need(module, extra="export")
    exported = torch.onnx.export(
        program,
        dynamo=True,
        verbose=False,
        input_names=["images"],
        output_names=list(description.outputs),
    )
    assert exported is not None
    exported.model.metadata_props[KEY] = description.to_json()
    exported.save(path)

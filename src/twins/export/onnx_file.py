"""A graph as an ONNX file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from ..heads.detection.nms_operator import onnx_translations
from ..optional_dependencies import need
from ..quiet import quietly
from ..runtimes.description import KEY, Description
from .written import Written

NEEDED = ("onnx", "onnxscript", "onnxruntime")
_AXES = {0: "batch", 2: "height", 3: "width"}


class OnnxFile(Written):
    """One .onnx file with weights and description, as `to_onnx` converts it."""

    def __init__(self, program: Any) -> None:
        self.program = program

    def save(self, path: Path, description: Description) -> None:
        onnx = need("onnx", extra="export")
        self.program.model.metadata_props[KEY] = description.to_json()
        self.program.save(os.fspath(path))
        model = onnx.load(path)
        forget_recording(model)
        onnx.save(model, path)


def to_onnx(program: ExportedProgram, outputs: tuple[str, ...]) -> OnnxFile:
    """Convert a captured network. Raises TwinsError where onnx or onnxscript is not installed.

    Raises also whatever the exporter raises, for operators that ONNX does not have.
    """
    for module in NEEDED:
        need(module, extra="export")
    with quietly():
        exported = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            input_names=["images"],
            output_names=list(outputs),
            custom_translation_table=onnx_translations(),
            dynamic_shapes=({axis: name for axis, name in _AXES.items() if axis in dynamic_axes(program)},),
        )
    return OnnxFile(exported)


def forget_recording(model: Any) -> None:
    """Take out of an ONNX model what the exporter notes of how it was recorded, with lines and paths of source files.

    The description, which is the model's own metadata, stays. `trunks.float_nodes` reads the notes, so before.
    """
    graph = model.graph
    for part in (graph, *graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info):
        del part.metadata_props[:]
        if part.doc_string:
            part.ClearField("doc_string")


def dynamic_axes(program: ExportedProgram) -> set[int]:
    """Which axes of the images may be of any length."""
    images = next(node for node in program.graph.nodes if node.name == "images")
    return {axis for axis, length in enumerate(images.meta["val"].shape) if not isinstance(length, int)}

"""int8 of the other runtimes as the benchmark has it: made once, and what is executed kept in the file."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..optional_dependencies import need
from ..quiet import quietly
from ..runtimes.one_core import shared_core
from ..runtimes.quantisation import Executed, fastest_hint, onnx_executed, onnx_int8, openvino_int8
from .machine import instruction_sets

IMAGES = 16  # of a case's shape, that quantisation is calibrated on
METADATA = ("actual_dtype", "executed", "hint")  # kept in the files; the hint is for what OpenVINO does not run in int8


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
        with quietly():
            (_for_openvino if engine == "openvino" else _for_onnxruntime)(source, calibration(), path)
    return path


def _for_openvino(source: Path, calibration: Sequence[Tensor], path: Path) -> None:
    model = openvino_int8(shared_core().read_model(os.fspath(source)), calibration)
    hint, executed = fastest_hint(model, calibration[0])
    for key, value in (_metadata(executed) | {"hint": hint}).items():
        model.set_rt_info(value, ["twins", key])
    need("openvino", extra="bench").save_model(model, os.fspath(path), compress_to_fp16=False)


def _for_onnxruntime(source: Path, calibration: Sequence[Tensor], path: Path) -> None:
    onnx_int8(source, path, calibration, seven_bits=not _has_vnni())
    metadata = _metadata(onnx_executed(path))
    onnx = need("onnx", extra="bench")
    quantised = onnx.load(path)
    onnx.helper.set_model_props(quantised, metadata)
    onnx.save(quantised, path)


def _has_vnni() -> bool:
    return not {"avx512_vnni", "avx_vnni", "amx_int8"}.isdisjoint(instruction_sets())


def _metadata(executed: Executed) -> dict[str, str]:
    """What is kept in the file."""
    return {"actual_dtype": executed.dtype, "executed": str(executed)}

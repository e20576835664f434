"""Which runtime opens an exported file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ..errors import TwinsError
from . import executorch_programs, onnx_runtime, openvino_runtime, torch_programs
from .description import Description
from .network import ExportedNetwork, described, existing


class _Runtime(NamedTuple):
    """What opens a file on a device, and what only reads the description in it."""

    network: Callable[[Path, str], ExportedNetwork]
    stated_in: Callable[[Path], str | None]


_RUNTIMES = {
    ".onnx": _Runtime(onnx_runtime.OnnxNetwork, onnx_runtime.stated_in),
    ".xml": _Runtime(openvino_runtime.OpenVinoNetwork, openvino_runtime.stated_in),
    ".pt2": _Runtime(torch_programs.TorchNetwork, torch_programs.stated_in),
    ".pte": _Runtime(executorch_programs.ExecutorchNetwork, executorch_programs.stated_in),
}
SUFFIXES = tuple(_RUNTIMES)


def is_exported(path: str | os.PathLike[str]) -> bool:
    """Whether a file's name says that it is an exported network rather than weights."""
    return Path(path).suffix in SUFFIXES


def open_exported(path: str | os.PathLike[str], device: str = "cpu") -> ExportedNetwork:
    """An exported network, ready to be called; by its suffix the file says which runtime that takes.

    Parameters
    ----------
    path:
        .onnx (ONNX Runtime), .xml (OpenVINO, with the .bin beside it), .pt2 (PyTorch) or .pte (ExecuTorch).
    device:
        "cpu", or "cuda" where the runtime has it.

    Raises TwinsError for a file that is missing, damaged, of another suffix or not written by twins, for a runtime that
    is not installed, and for a device that it does not have.
    """
    file = Path(path)
    return _runtime_of(file).network(existing(file), device)


def read_description(path: str | os.PathLike[str]) -> Description:
    """What an exported file says of itself, without opening the network: nothing of it is run.

    Raises TwinsError as `open_exported` does.
    """
    file = Path(path)
    return described(_runtime_of(file).stated_in(existing(file)), file)


def _runtime_of(file: Path) -> _Runtime:
    if file.suffix not in SUFFIXES:
        raise TwinsError(f"{file}: no exported network by its name, which ends in {', '.join(SUFFIXES)}")
    return _RUNTIMES[file.suffix]

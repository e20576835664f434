"""Which runtime opens an exported file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ..errors import TwinsError
from .executorch_programs import ExecutorchNetwork
from .network import ExportedNetwork, existing
from .onnx_runtime import OnnxNetwork
from .openvino_runtime import OpenVinoNetwork
from .torch_programs import TorchNetwork

_RUNTIMES: dict[str, Callable[[Path, str], ExportedNetwork]] = {
    ".onnx": OnnxNetwork,
    ".xml": OpenVinoNetwork,
    ".pt2": TorchNetwork,
    ".pte": ExecutorchNetwork,
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
    if file.suffix not in SUFFIXES:
        raise TwinsError(f"{file}: no exported network by its name, which ends in {', '.join(SUFFIXES)}")
    return _RUNTIMES[file.suffix](existing(file), device)

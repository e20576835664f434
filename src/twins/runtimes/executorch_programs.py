"""ExecuTorch."""

from __future__ import annotations

import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import TwinsError
from ..optional_dependencies import need
from .description import KEY
from .network import ExportedNetwork, damaged, described


class ExecutorchNetwork(ExportedNetwork):
    """A .pte file on the CPU. Raises TwinsError for one that is damaged or that twins did not write, and for a GPU."""

    def __init__(self, path: Path, device: str = "cpu") -> None:
        if device != "cpu":
            raise TwinsError(f"{path}: ExecuTorch runs it on the CPU, not on {device}")
        with warnings.catch_warnings(action="ignore"):  # of its own imports
            runtime = need("executorch.runtime", extra="executorch").Runtime.get()
        self.program = _load(runtime, path)
        stored = self.program.load_method(KEY).execute([]) if KEY in self.program.method_names else [None]
        description = described(stored[0], path)
        self.method = self.program.load_method("forward")
        super().__init__(path, description, f"ExecuTorch {version('executorch')}, XNNPACK, {description.dtype}")

    def compute(self, images: Tensor) -> list[Tensor]:
        with torch.no_grad():
            outputs: list[Tensor] = self.method.execute([images.contiguous()])
        return [output.clone() for output in outputs]  # the next call writes into the same memory


def _load(runtime: Any, path: Path) -> Any:
    try:
        return runtime.load_program(path)
    except Exception as error:  # its errors are RuntimeErrors and of its C++ part
        raise damaged(path, error) from error

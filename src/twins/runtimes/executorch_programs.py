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
        self.program = _load(path)
        description = described(_text_of(self.program), path)
        self.method = self.program.load_method("forward")
        super().__init__(path, description, f"ExecuTorch {version('executorch')}, XNNPACK, {description.dtype}")

    def compute(self, images: Tensor) -> list[Tensor]:
        with torch.no_grad():
            outputs: list[Tensor] = self.method.execute([images.contiguous()])
        return [output.clone() for output in outputs]  # the next call writes into the same memory


def stated_in(path: Path) -> str | None:
    """What the file says of itself, if it is one of ours. Raises TwinsError for a damaged one."""
    return _text_of(_load(path))


def _text_of(program: Any) -> str | None:
    stored = program.load_method(KEY).execute([]) if KEY in program.method_names else [None]
    text: str | None = stored[0]
    return text


def _load(path: Path) -> Any:
    with warnings.catch_warnings(action="ignore"):  # of its own imports
        runtime = need("executorch.runtime", extra="executorch").Runtime.get()
    try:
        return runtime.load_program(path)
    except Exception as error:  # its errors are RuntimeErrors and of its C++ part
        raise damaged(path, error) from error

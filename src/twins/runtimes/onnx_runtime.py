"""ONNX Runtime."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import TwinsError
from ..optional_dependencies import need
from .description import KEY
from .network import ExportedNetwork, damaged, described

_PROVIDERS = {"cpu": ["CPUExecutionProvider"], "cuda": ["CUDAExecutionProvider"]}


class OnnxNetwork(ExportedNetwork):
    """A .onnx file.

    Raises TwinsError for one that is damaged or that twins did not write, and for a device that it would not run on.
    """

    def __init__(self, path: Path, device: str = "cpu") -> None:
        if device not in _PROVIDERS:
            raise TwinsError(f"{path}: ONNX Runtime runs it on {' or '.join(_PROVIDERS)}, not on {device}")
        onnxruntime = need("onnxruntime", extra="export")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors
        self.session = self._open(onnxruntime, path, options, _PROVIDERS[device])
        description = described(self.session.get_modelmeta().custom_metadata_map.get(KEY), path)
        provider = self.session.get_providers()[0]
        if provider != _PROVIDERS[device][0]:  # ONNX Runtime falls back with no more than a warning
            raise TwinsError(
                f"{path}: ONNX Runtime does not compute on {device} here, {provider} is what it takes: install "
                "onnxruntime-gpu, or leave --device out"
            )
        precision = description.dtype
        if (precision, provider) == ("fp16", "CPUExecutionProvider"):  # which has few kernels of it, and casts back
            precision = "weights of fp16, computed in fp32"
        super().__init__(path, description, f"ONNX Runtime {onnxruntime.__version__}, {provider}, {precision}")

    @staticmethod
    def _open(onnxruntime: Any, path: Path, options: Any, providers: list[str]) -> Any:
        try:
            return onnxruntime.InferenceSession(os.fspath(path), options, providers=providers)
        except Exception as error:  # its classes of errors have no base of their own
            raise damaged(path, error) from error

    def compute(self, images: Tensor) -> list[Tensor]:
        outputs = self.session.run(list(self.description.outputs), {"images": images.contiguous().numpy()})
        return [torch.from_numpy(output) for output in outputs]


def stated_in(path: Path) -> str | None:
    """What the file says of itself, if it is one of ours; nothing in it is run. Raises TwinsError for a damaged one."""
    onnx = need("onnx", extra="export")
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # of protobuf, whose errors have no base of their own
        raise damaged(path, error) from error
    return next((entry.value for entry in model.metadata_props if entry.key == KEY), None)

"""OpenVINO."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import TwinsError
from ..optional_dependencies import need
from .description import KEY
from .network import ExportedNetwork, damaged, described, existing
from .one_core import shared_core
from .quantisation import OPENVINO_DTYPES, openvino_settings, our_dtype


class OpenVinoNetwork(ExportedNetwork):
    """A .xml file with the .bin of its name beside it, on the CPU in the precision that the file was written for.

    Raises TwinsError for files that are damaged, missing or not written by twins, and for a device other than the CPU.
    """

    def __init__(self, path: Path, device: str = "cpu") -> None:
        if device != "cpu":
            raise TwinsError(f"{path}: OpenVINO runs it on the CPU, not on {device}")
        openvino = need("openvino", extra="export")
        core = shared_core()
        model = _read(core, path)
        description = described(_text_of(model), path)
        wanted = (description.quantisation or {}).get("rest", description.dtype)
        settings = openvino_settings(OPENVINO_DTYPES.get(wanted, "f32"))
        # OpenVINO 2026.4 otherwise reuses kernels of another size, and computes other logits or NaN.
        self.compiled = core.compile_model(model, "CPU", settings | {"CPU_RUNTIME_CACHE_CAPACITY": 0})
        self.request = self.compiled.create_infer_request()
        chosen = our_dtype(self.compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name())
        precision = f"int8, rest {chosen}" if description.dtype == "int8" else chosen
        version = openvino.__version__.partition("-")[0]
        super().__init__(path, description, f"OpenVINO {version}, CPU, {precision}")

    def compute(self, images: Tensor) -> list[Tensor]:
        found = self.request.infer({"images": images.contiguous().numpy()}, share_inputs=True)
        return [torch.from_numpy(found[name]) for name in self.description.outputs]


def stated_in(path: Path) -> str | None:
    """What the file says of itself, if it is one of ours; nothing in it is run. Raises TwinsError for a damaged one."""
    need("openvino", extra="export")
    return _text_of(_read(shared_core(), path))


def _text_of(model: Any) -> str | None:
    return model.get_rt_info([KEY]).astype(str) if model.has_rt_info([KEY]) else None


def _read(core: Any, path: Path) -> Any:
    existing(path.with_suffix(".bin"), remedy=f"it holds the weights of {path}: keep both files together")
    try:
        return core.read_model(os.fspath(path))
    except RuntimeError as error:
        *_, reason = str(error).strip().splitlines() or [""]  # the lines before it say where in OpenVINO
        raise damaged(path, RuntimeError(reason)) from error

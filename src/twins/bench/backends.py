"""Every backend as a function without arguments: the same weights on the same images.

Windows of published networks are padded with zeros, as timm pads them: the default, clipping, has other outputs (and
less to do) at sizes that leave a remainder, and there is nothing to pad at 224. ONNX Runtime and OpenVINO are given our
network, not timm's: the exporter does not take the five-dimensional attention of timm, and timm's attention without it
would run up to a quarter slower in both.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import TwinsError
from ..native import Frozen, freeze
from ..ops.precision import IN_HARDWARE
from .networks import image_shape, our_network, timm_network
from .plan import Backend, Case
from .quantisation import draw_calibration
from .runners import Outputs, Runner, Weights, inference_runner
from .runtimes import RUNTIMES, load_runtime, model_file

_LIBRARIES = {
    "timm": ("timm",),
    "timm-compiled": ("timm",),
    "onnxruntime": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "openvino"),
}


def missing(backend: Backend, workload: str) -> str | None:
    """Why a backend cannot take part in a workload here, in a line, or None if it can."""
    needed = _LIBRARIES.get(backend.engine, ()) + (("nncf",) if backend == Backend("openvino", "int8") else ())
    if absent := [name for name in needed if find_spec(name) is None]:
        return f'{" and ".join(absent)} not installed; run: pip install "twins-vit[bench]"'
    autocast = backend.engine in ("timm", "timm-compiled") and backend.dtype == "bf16" and workload != "training"
    if autocast and not IN_HARDWARE[torch.bfloat16]:
        return "this CPU has no bfloat16, and PyTorch emulates it at a hundredth of the speed"
    return None


def start(backend: Backend, case: Case, load: Callable[[], Weights], images: Tensor, folder: Path) -> Runner:
    """Load, convert or compile; `folder` keeps what is exported. Raises what the library in question raises."""
    if backend.engine in RUNTIMES:
        path = exported(backend, case, load, images, folder)
        loaded = load_runtime(backend, path)
        return inference_runner(backend, partial(loaded.call, images), loaded.actual_dtype, loaded.executed)
    if backend.engine == "timm-compiled":
        return _compiled(backend, timm_network(case, load()), images)
    if backend.engine == "timm":
        model = timm_network(case, load())
        return inference_runner(backend, partial(_autocast_infer, model, images, backend.dtype))
    model = our_network(case, load())
    if backend.engine == "frozen":
        model = frozen(model, backend.dtype)
    return inference_runner(backend, lambda: infer(model, images))


def exported(backend: Backend, case: Case, load: Callable[[], Weights], images: Tensor, folder: Path) -> Path:
    """The file that ONNX Runtime or OpenVINO loads, written below `folder` unless it is there."""
    calibration = partial(draw_calibration, case.batch, image_shape(case))
    return model_file(backend, lambda: our_network(case, load()), images, calibration, folder)


def frozen(model: nn.Module, dtype: str) -> nn.Module:
    """The network in the engine, which takes its weights. Raises TwinsError where PyTorch would compute instead."""
    engine = freeze(model, dtype=dtype, release=True)
    if not isinstance(engine, Frozen):
        raise TwinsError("the engine cannot be used, and PyTorch computes instead")
    return engine


def infer(model: nn.Module, images: Tensor) -> Outputs:
    """Logits, or the four maps of a backbone, without gradients."""
    with torch.inference_mode():
        return _as_list(model(images))


def _autocast_infer(model: nn.Module, images: Tensor, dtype: str) -> Outputs:
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == "bf16"):
        return infer(model, images)


def _compiled(backend: Backend, model: nn.Module, images: Tensor) -> Runner:
    """The compiler folds weights into constants (`freezing`), which asks for `no_grad` when it first runs."""
    import torch._inductor.config as inductor

    compiled = torch.compile(model, dynamic=False)

    def outputs() -> Outputs:
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=backend.dtype == "bf16"):
            return _as_list(compiled(images))

    with inductor.patch(freezing=True):
        outputs()
    return inference_runner(backend, outputs)


def _as_list(outputs: Any) -> Outputs:
    return [outputs] if isinstance(outputs, Tensor) else list(outputs)

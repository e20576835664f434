"""Every contender as a function without arguments that answers the same pictures with the same weights.

Windows are padded with zeros, as timm pads them: the default, clipping, has other answers (and less to do) at sizes
that leave a remainder, and there is nothing to pad at 224. ONNX Runtime and OpenVINO are given our network, not timm's:
the exporter does not take the five-dimensional attention of timm, and its slower form without it would run up to a
quarter slower in both.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..errors import TwinsError
from ..extras import need
from ..native import Frozen, freeze
from ..zoo import create_model
from .plan import Case, Contender

Answer = list[Tensor]
Weights = dict[str, Tensor]
_LIBRARIES = {
    "timm": ("timm",),
    "timm-compiled": ("timm",),
    "onnxruntime": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "openvino"),
}
_OPENVINO_DTYPES = {"fp32": "f32", "bf16": "bf16"}


class Runner(NamedTuple):
    """A contender at its start."""

    contender: Contender
    answer: Callable[[], Answer]  # what parity is judged by
    work: Callable[[], object]  # what is timed; the same where nothing is trained
    ran: str  # the precision it really computes in
    note: str = ""


def runner(contender: Contender, answer: Callable[[], Answer], ran: str | None = None) -> Runner:
    """One whose answer is its work; `ran` where that is not the precision asked for."""
    note = "" if ran in (None, contender.dtype) else f"ran {ran}, having no {contender.dtype} here"
    return Runner(contender, answer, answer, ran or contender.dtype, note)


def missing(engine: str) -> str | None:
    """Why a contender cannot take part, in a line, if a library is not installed."""
    absent = [name for name in _LIBRARIES.get(engine, ()) if find_spec(name) is None]
    return f'{" and ".join(absent)} not installed; run: pip install "twins-vit[bench]"' if absent else None


def draw_weights(case: Case) -> Weights:
    """Weights as large as trained ones, biases and norms among them, always the same.

    As a network is initialised its biases are zero and its attention is all but uniform: much could be wrong unseen.
    """
    dice = torch.Generator().manual_seed(0)
    weights = {}
    for name, weight in our_network(case).state_dict().items():
        drawn = torch.randn(weight.shape, generator=dice)
        if weight.ndim > 1:
            weights[name] = drawn * weight[0].numel() ** -0.5
        else:
            weights[name] = 0.1 * drawn + float(name.endswith("weight"))
    return weights


def our_network(case: Case, weights: Weights | None = None, window_padding: str = "zero") -> nn.Module:
    """The case's classifier or backbone in plain PyTorch, holding these very weights.

    Without weights it is on the meta device, that is shapes alone.
    """
    with torch.device("meta"):  # saves the time of drawing weights that are not used
        model = create_model(case.network, window_padding=window_padding, features_only=case.what == "backbone").eval()
    if weights is not None:
        model.load_state_dict(weights, assign=True)
    return model


def timm_network(case: Case, weights: Weights) -> nn.Module:
    """timm's network, holding these very weights."""
    timm = need("timm", extra="bench")
    with torch.device("meta"):
        model: nn.Module = timm.create_model(case.network, features_only=case.what == "backbone").eval()
    inner = model.get_submodule("model") if case.what == "backbone" else model
    inner.load_state_dict(weights, assign=True)
    return model


def export_onnx(model: nn.Module, images: Tensor, folder: Path) -> Path:
    """Write the network at the fixed shape of the pictures, and answer the file."""
    path = folder / "network.onnx"
    if not path.exists():
        torch.onnx.export(model, (images,), path, dynamo=True, verbose=False)
    return path


def start(
    contender: Contender, case: Case, load: Callable[[], Weights], images: Tensor, onnx: Callable[[], Path]
) -> Runner:
    """Load, convert or compile; `onnx` answers our network as a file. Raises what the library in question raises."""
    if contender.engine == "onnxruntime":
        return _onnxruntime(contender, images, onnx())
    if contender.engine == "openvino":
        return _openvino(contender, images, onnx())
    if contender.engine == "timm-compiled":
        return _compiled(contender, timm_network(case, load()), images)
    model = timm_network(case, load()) if contender.engine == "timm" else our_network(case, load())
    if contender.engine == "frozen":
        model = freeze(model, dtype=contender.dtype, release=True)
        if not isinstance(model, Frozen):
            raise TwinsError("the engine cannot be used, and PyTorch computes instead")
    return runner(contender, lambda: infer(model, images))


def infer(model: nn.Module, images: Tensor) -> Answer:
    with torch.inference_mode():
        return _as_list(model(images))


def _compiled(contender: Contender, model: nn.Module, images: Tensor) -> Runner:
    """The compiler folds weights into constants (`freezing`), which asks for `no_grad` when it first runs."""
    import torch._inductor.config as inductor

    compiled = torch.compile(model, dynamic=False)

    def answer() -> Answer:
        with torch.no_grad():
            return _as_list(compiled(images))

    with inductor.patch(freezing=True):
        answer()
    return runner(contender, answer)


def _onnxruntime(contender: Contender, images: Tensor, path: Path) -> Runner:
    runtime = need("onnxruntime", extra="bench")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: images.numpy()}
    return runner(contender, lambda: [torch.from_numpy(y) for y in session.run(None, feed)])


def _openvino(contender: Contender, images: Tensor, path: Path) -> Runner:
    """OpenVINO computes in float32, unasked, where the processor has no bfloat16: what it chose is noted."""
    openvino = need("openvino", extra="bench")
    asked = {
        "INFERENCE_PRECISION_HINT": _OPENVINO_DTYPES[contender.dtype],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = openvino.Core().compile_model(os.fspath(path), "CPU", asked)
    request, pixels = compiled.create_infer_request(), images.numpy()

    def answer() -> Answer:
        outputs = request.infer({0: pixels}, share_inputs=True, share_outputs=True)
        return [torch.from_numpy(outputs[i]) for i in range(len(compiled.outputs))]

    chosen = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    return runner(contender, answer, {theirs: ours for ours, theirs in _OPENVINO_DTYPES.items()}[chosen])


def _as_list(answer: Any) -> Answer:
    return [answer] if isinstance(answer, Tensor) else list(answer)

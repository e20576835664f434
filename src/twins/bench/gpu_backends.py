"""The backends on a GPU: ours, timm as it is, and timm with one reshape repaired; eager, compiled and as CUDA graphs.

The window attention of timm hands five-dimensional tensors to PyTorch's, whose fused kernels take four: `repair` folds
windows into the batch, so that no speedup is claimed which is due to that reshape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..cuda_graphs import graphed
from .backends import infer
from .networks import draw_weights, our_network, timm_network
from .plan import Case
from .runners import Outputs, Weights

DEVICE = "cuda"
_COMPILE = {"compiled": "default", "max-autotune": "max-autotune"}


class GpuBackend(NamedTuple):
    """A network, and how it is run."""

    network: str  # "twins", "timm" or "timm repaired"
    mode: str = ""  # a key of _COMPILE, or "graphed"; empty: as it is

    @property
    def title(self) -> str:
        return f"{self.network} {self.mode or 'eager'} bf16"


BASELINE = GpuBackend("twins")
BACKENDS = (
    BASELINE,
    GpuBackend("timm"),
    GpuBackend("twins", "compiled"),
    GpuBackend("timm", "compiled"),
    GpuBackend("timm repaired"),
    GpuBackend("timm repaired", "compiled"),
    GpuBackend("twins", "graphed"),
    GpuBackend("timm", "max-autotune"),
)


class CaseInputs(NamedTuple):
    """What all backends of a case are given, and the outputs that they are compared with."""

    weights: Weights
    images: Tensor
    reference: Outputs


class GpuRunner(NamedTuple):
    """A backend that is loaded on the GPU, with the images of its case."""

    outputs: Callable[[], Outputs]  # what parity is judged by
    work: Callable[[], object]  # what is timed


def make_inputs(case: Case) -> CaseInputs:
    """Weights, images and outputs of timm in full float32, so that nothing of ours judges our kernels."""
    weights = draw_weights(case)
    images = torch.randn(case.batch, 3, *case.size, generator=torch.Generator().manual_seed(1)).to(DEVICE)
    model = timm_network(case, weights).to(DEVICE)
    with _full_precision():
        if case.workload == "training":
            return CaseInputs(weights, images, _gradients(model.train(), images, pieces=8))
        parts = [infer(model, part) for part in images.split(16)]
    return CaseInputs(weights, images, [torch.cat(maps) for maps in zip(*parts, strict=True)])


def start_on_gpu(case: Case, backend: GpuBackend, inputs: CaseInputs) -> GpuRunner:
    """Load and prepare it; what is compiled is compiled in its first call."""
    model, images = _network(case, backend, inputs.weights), inputs.images.bfloat16()
    if case.workload == "training":
        return _training(model, images)
    call = partial(infer, model, images)
    return GpuRunner(call, call)


def _network(case: Case, backend: GpuBackend, weights: Weights) -> nn.Module:
    model = our_network(case, weights) if backend.network == "twins" else timm_network(case, weights)
    if backend.network == "timm repaired":
        repair(model)
    model = model.to(DEVICE).bfloat16()
    if backend.mode == "graphed":
        return graphed(model)
    if backend.mode:
        mode = _COMPILE[backend.mode]
        if case.workload == "training" and mode == "max-autotune":
            mode += "-no-cudagraphs"  # gradients outlive the step that they are captured in
        model.compile(mode=mode, dynamic=False)
    return model


def replays_graphs(case: Case, backend: GpuBackend) -> bool:
    """Whether it replays CUDA graphs, whose memory PyTorch counts as free."""
    return backend.mode == "graphed" or (backend.mode == "max-autotune" and case.workload != "training")


def repair(model: nn.Module) -> None:
    """Let timm's window attention call PyTorch's with four dimensions: windows and images are one batch."""
    for module in model.modules():
        if type(module).__name__ == "LocallyGroupedAttn":
            module.forward = partial(_attend_in_four_dimensions, module)


def _attend_in_four_dimensions(module: Any, x: Tensor, size: tuple[int, int]) -> Tensor:
    (B, N, C), (H, W), side = x.shape, size, module.ws
    x = F.pad(x.view(B, H, W, C), (0, 0, 0, -W % side, 0, -H % side))
    rows, columns = x.shape[1] // side, x.shape[2] // side
    x = x.view(B, rows, side, columns, side, C).transpose(2, 3).reshape(-1, side * side, C)
    q, k, v = module.qkv(x).unflatten(2, (3, module.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
    y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B, rows, columns, side, side, C)
    y = y.transpose(2, 3).reshape(B, rows * side, columns * side, C)[:, :H, :W].reshape(B, N, C)
    output: Tensor = module.proj(y)
    return output


@contextmanager
def _full_precision() -> Iterator[None]:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def _training(model: nn.Module, images: Tensor) -> GpuRunner:
    model.train()  # no drop-path: both get every block
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05, fused=True)

    def step() -> None:
        _gradients(model, images)
        optimizer.step()

    return GpuRunner(partial(_gradients, model, images), step)


def _gradients(model: nn.Module, images: Tensor, pieces: int = 1) -> list[Tensor]:
    """The loss, and gradients at both ends of the network; in pieces where memory would not do for all at once."""
    model.zero_grad()
    loss = torch.zeros((), device=images.device)
    labels = torch.arange(len(images), device=images.device)
    for part, targets in zip(images.chunk(pieces), labels.chunk(pieces), strict=True):
        share = F.cross_entropy(model(part).float(), targets, reduction="sum") / len(images)
        share.backward()
        loss += share.detach()
    ends = [model.get_parameter(name).grad for name in ("patch_embeds.0.proj.weight", "head.weight")]
    return [loss, *(grad.clone() for grad in ends if grad is not None)]

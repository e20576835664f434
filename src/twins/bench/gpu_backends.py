"""Who takes part on a GPU: us, timm as it is, and timm with one reshape repaired; eager, compiled and recorded.

The window attention of timm hands five-dimensional tensors to PyTorch's, whose fused kernels take four: `repair` folds
windows into the batch, so that nothing is claimed which is that reshape's merit.
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
from .backends import draw_weights, infer, our_network, timm_network
from .plan import Case
from .runners import Answer, Weights

DEVICE = "cuda"
_COMPILE = {"compiled": "default", "max-autotune": "max-autotune"}


class GpuContender(NamedTuple):
    """Whose network, and how it is run."""

    whose: str  # "twins", "timm" or "timm repaired"
    how: str = ""  # a key of _COMPILE, or "graphed"; empty: as it is

    @property
    def title(self) -> str:
        return f"{self.whose} {self.how or 'eager'} bf16"


ANCHOR = GpuContender("twins")
CONTENDERS = (
    ANCHOR,
    GpuContender("timm"),
    GpuContender("twins", "compiled"),
    GpuContender("timm", "compiled"),
    GpuContender("timm repaired"),
    GpuContender("timm repaired", "compiled"),
    GpuContender("twins", "graphed"),
    GpuContender("timm", "max-autotune"),
)


class Material(NamedTuple):
    """What all contenders of a case are given, and what they have to answer."""

    weights: Weights
    images: Tensor
    reference: Answer


class GpuRunner(NamedTuple):
    """A contender at its start, on the card."""

    answer: Callable[[], Answer]  # what parity is judged by
    work: Callable[[], object]  # what is timed


def gather_material(case: Case) -> Material:
    """The reference is timm in float32 proper, so that nothing of ours judges our kernels."""
    weights = draw_weights(case)
    images = torch.randn(case.batch, 3, *case.size, generator=torch.Generator().manual_seed(1)).to(DEVICE)
    model = timm_network(case, weights).to(DEVICE)
    with _full_precision():
        if case.what == "training":
            return Material(weights, images, _gradients(model.train(), images, pieces=8))
        parts = [infer(model, part) for part in images.split(16)]
    return Material(weights, images, [torch.cat(maps) for maps in zip(*parts, strict=True)])


def start_on_gpu(case: Case, contender: GpuContender, material: Material) -> GpuRunner:
    """Load and prepare it; what is compiled is compiled when it first answers."""
    model, images = _network(case, contender, material.weights), material.images.bfloat16()
    if case.what == "training":
        return _training(model, images)
    answer = partial(infer, model, images)
    return GpuRunner(answer, answer)


def _network(case: Case, contender: GpuContender, weights: Weights) -> nn.Module:
    model = our_network(case, weights) if contender.whose == "twins" else timm_network(case, weights)
    if contender.whose == "timm repaired":
        repair(model)
    model = model.to(DEVICE).bfloat16()
    if contender.how == "graphed":
        return graphed(model)
    if contender.how:
        mode = _COMPILE[contender.how]
        if case.what == "training" and mode == "max-autotune":
            mode += "-no-cudagraphs"  # gradients outlive the step that they are recorded in
        model.compile(mode=mode, dynamic=False)
    return model


def is_recorded(case: Case, contender: GpuContender) -> bool:
    """Whether it replays CUDA graphs, whose memory PyTorch counts as free."""
    return contender.how == "graphed" or (contender.how == "max-autotune" and case.what != "training")


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
    answer: Tensor = module.proj(y)
    return answer


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
    for part, wanted in zip(images.chunk(pieces), labels.chunk(pieces), strict=True):
        share = F.cross_entropy(model(part).float(), wanted, reduction="sum") / len(images)
        share.backward()
        loss += share.detach()
    ends = [model.get_parameter(name).grad for name in ("patch_embeds.0.proj.weight", "head.weight")]
    return [loss, *(grad.clone() for grad in ends if grad is not None)]

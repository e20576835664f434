"""A training step counted operator by operator, on PyTorch's meta device: shapes without numbers, on any machine.

What is counted are plain PyTorch's operators, as they run on a GPU that has none of our kernels. Products take half
precision, norms and losses float32 where the recipe trains under autocast, and attention is fused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ..class_names import numbered
from ..data.loading import Batch
from ..model import Block
from ..recipes import ClassifyRecipe, Recipe, SegmentRecipe
from ..tasks import Task, make_task
from .hardware import Precision

_aten = torch.ops.aten
_FREE = {_aten.detach, _aten._unsafe_view, _aten.empty, _aten.empty_like, _aten.new_empty, _aten.empty_strided}
# As autocast sorts them on a GPU.
_IN_HALF = {F.linear, F.conv2d, F.scaled_dot_product_attention}
_IN_SINGLE = {F.layer_norm, F.group_norm, F.softmax, F.log_softmax, F.cross_entropy}


class Operator(NamedTuple):
    """One that a GPU runs."""

    flops: int  # of convolutions, linear layers and attention; a multiply-add is two
    bytes: int  # that it reads and writes
    precision: Precision  # of its products


class CountedStep(NamedTuple):
    """Forward and backward pass of one batch on one GPU. Bytes that are kept do not include the weights."""

    batch: int  # images
    parameters: int
    trained: int  # parameters that get a gradient
    forward: tuple[Operator, ...]
    backward: tuple[Operator, ...]
    kept: int  # bytes that wait for the backward pass

    @property
    def operators(self) -> tuple[Operator, ...]:
        return self.forward + self.backward

    @property
    def flops_per_image(self) -> float:
        """Of a training step by the usual count: three times those of the forward pass."""
        return 3 * sum(operator.flops for operator in self.forward) / self.batch


def can_be_counted(recipe: Recipe) -> bool:
    """Whether shapes alone say what a step computes: what a detector does depends on what it finds."""
    return isinstance(recipe, ClassifyRecipe | SegmentRecipe)


def build_on_meta(recipe: Recipe, classes: int) -> tuple[Task, Any]:
    """The recipe's task and its network, as it trains, without the memory for weights."""
    task = make_task(recipe.replace(weights=None), numbered(classes))
    with torch.device("meta"):
        model = task.build()
    model.set_grad_checkpointing(recipe.grad_checkpointing)
    model.train()
    for part in model.freeze_stages(recipe.freeze_stages):
        part.eval()
    return task, model


def count_step(recipe: Recipe, classes: int, batch: int) -> CountedStep:
    """One step of a classifier or segmenter on `batch` images; `can_be_counted` says of which recipes."""
    task, model = build_on_meta(recipe, classes)
    if recipe.grad_checkpointing:
        _recompute_on_gpu(model, recipe.amp)
    images, labels = _batch(recipe, classes, batch)
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
        return tensor

    forward, backward = _Recorder(), _Recorder()
    with _OnGpu(recipe.amp):
        with forward, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            losses = task.losses(model, Batch(images, labels, tuple(range(batch))))
            loss = torch.stack(list(losses.values())).sum()
        with backward:
            loss.backward()
    weights = [*model.parameters(), *model.buffers()]
    for tensor in weights:
        kept.pop(tensor.untyped_storage()._cdata, None)
    return CountedStep(
        batch,
        parameters=count_parameters(model),
        trained=count_parameters(model, trained=True),
        forward=tuple(forward.operators),
        backward=tuple(backward.operators),
        kept=sum(storage.nbytes() for storage in kept.values()),
    )


def count_parameters(model: nn.Module, trained: bool = False) -> int:
    """Those of a network, or those of them that are trained."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trained)


def _batch(recipe: Recipe, classes: int, batch: int) -> tuple[Tensor, Tensor]:
    """Images and labels as the loop hands them to the task, on meta."""
    if isinstance(recipe, SegmentRecipe):
        size = (recipe.img_size, recipe.img_size)
        labels = torch.empty(batch, *size, dtype=torch.int64, device="meta")
    else:
        assert isinstance(recipe, ClassifyRecipe)
        size = recipe.size
        labels = torch.empty(batch, classes, device="meta")  # distributions, as mixed images have them
    return torch.empty(batch, recipe.in_chans, *size, device="meta"), labels


class _OnGpu(TorchFunctionMode):
    """Autocast's casts, which PyTorch makes on real devices alone, and the attention that a GPU would choose."""

    def __init__(self, amp: bool) -> None:
        super().__init__()
        self.amp = amp

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if self.amp and function in _IN_HALF:
            args = tuple(_cast(value, torch.float16) for value in args)
        elif self.amp and function in _IN_SINGLE:
            args = tuple(_cast(value, torch.float32) for value in args)
        if function is F.scaled_dot_product_attention:
            q, k, v = args
            if q.dtype == torch.float16:
                return _aten._scaled_dot_product_flash_attention(q, k, v)[0]
            return _aten._scaled_dot_product_efficient_attention(q, k, v, None, True)[0]
        return function(*args, **kwargs)


def _recompute_on_gpu(model: nn.Module, amp: bool) -> None:
    """Let blocks enter the mode by themselves: PyTorch leaves it in the backward pass, where they run again."""

    def within(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def run(x_BHWC: Tensor) -> Tensor:
            with _OnGpu(amp):
                return forward(x_BHWC)

        return run

    for block in model.modules():
        if isinstance(block, Block):
            block.forward = within(block.forward)  # type: ignore[method-assign, assignment]


def _cast(value: Any, dtype: torch.dtype) -> Any:
    return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value


class _Recorder(TorchDispatchMode):
    """Lists the operators that run and move anything."""

    def __init__(self) -> None:
        super().__init__()
        self.operators: list[Operator] = []

    def __torch_dispatch__(self, operator: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        output = operator(*args, **kwargs)
        packet = operator.overloadpacket
        if operator.is_view or packet in _FREE:
            return output
        formula = flop_registry.get(packet)
        flops = formula(*args, **kwargs, out_val=output) if formula else 0
        inputs = list(_tensors([args, list(kwargs.values())]))
        moved = sum(map(_bytes, [*inputs, *_tensors(output)]))
        self.operators.append(Operator(flops, moved, _precision(packet, inputs)))
        return output


def _precision(packet: Any, inputs: Iterable[Tensor]) -> Precision:
    """PyTorch lets convolutions of float32 use TF32, and matrix products only on demand."""
    if any(tensor.dtype == torch.float16 for tensor in inputs):
        return "half"
    return "tf32" if packet in (_aten.convolution, _aten.convolution_backward) else "single"


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Iterable) and not isinstance(value, str):
        for one in value:
            yield from _tensors(one)


def _bytes(tensor: Tensor) -> int:
    """What a tensor takes in memory; one that is expanded takes less than its shape says."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())

"""What all ranks do together; in a single process each function returns what that process has.

Every rank has to call them, in the same order. Tensors have to be on the device of the process group: a GPU's for nccl,
the CPU's for gloo.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed
from torch import Tensor

from ..errors import TwinsError

T = TypeVar("T")


def is_main() -> bool:
    """Whether this is the main process, of rank 0."""
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def all_sum(value: Tensor) -> Tensor:
    """The sum of a tensor over all ranks, on every rank; `value` itself then holds it. Does not wait for a GPU."""
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(value)
    return value


def mean_over_ranks(value: Tensor) -> Tensor:
    """The mean of a tensor over all ranks, on every rank."""
    if not torch.distributed.is_initialized():
        return value
    return all_sum(value) / torch.distributed.get_world_size()


def sum_over_ranks(counted: Tensor, device: torch.device) -> Tensor:
    """The sum over all ranks, on the CPU, of what each counted; `device` is the one that this rank trains on."""
    # gloo and nccl each take their own device's tensors; MPS has no doubles, but no ranks either.
    return all_sum(counted.to(device) if device.type == "cuda" else counted.cpu()).cpu()


def all_gather_object(value: Any) -> list[Any]:
    """A value that pickle takes from every rank, in the order of ranks, on every rank."""
    if not torch.distributed.is_initialized():
        return [value]
    values: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values


def from_main(value: Any) -> Any:
    """The main process's value, which pickle takes, on every rank."""
    if not torch.distributed.is_initialized():
        return value
    values = [value]
    torch.distributed.broadcast_object_list(values, src=0)
    return values[0]


def on_main(call: Callable[[], T]) -> T:
    """What a call returns that the main process alone makes, on every rank; a TwinsError it raises is raised on all."""
    error: TwinsError | None = None
    value: Any = None
    if is_main():
        try:
            value = call()
        except TwinsError as raised:
            error = raised
    value, error = from_main((value, error))
    if error is not None:
        raise error
    return value


def on_every_rank(call: Callable[[], T]) -> list[T]:
    """What a call returns on each rank, in their order, on every rank; a TwinsError of one of them is raised on all."""
    mine: T | TwinsError
    try:
        mine = call()
    except TwinsError as raised:
        mine = raised
    results = all_gather_object(mine)
    for result in results:
        if isinstance(result, TwinsError):
            raise result
    return results


def share_of(count: int) -> range:
    """Which of the indices 0 to `count` - 1 are this rank's: every one belongs to exactly one rank."""
    if not torch.distributed.is_initialized():
        return range(count)
    return range(torch.distributed.get_rank(), count, torch.distributed.get_world_size())

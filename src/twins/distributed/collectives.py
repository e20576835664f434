"""Sums and plain values over all ranks; alone, each is what this process has."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed
from torch import Tensor


def all_sum(value: Tensor) -> Tensor:
    """The sum over all ranks, in place where there are several."""
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(value)
    return value


def mean_over_ranks(value: Tensor) -> Tensor:
    """The mean over all ranks, each of which must ask."""
    if not torch.distributed.is_initialized():
        return value
    return all_sum(value) / torch.distributed.get_world_size()


def gather(value: Any) -> list[Any]:
    """A plain value from every rank, in their order, given to every rank."""
    if not torch.distributed.is_initialized():
        return [value]
    values: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values


def share_of(count: int) -> range:
    """Which of so many things are this process's to do; each is some process's."""
    if not torch.distributed.is_initialized():
        return range(count)
    return range(torch.distributed.get_rank(), count, torch.distributed.get_world_size())


def from_main(value: Any) -> Any:
    """The main process's value, given to every rank."""
    return gather(value)[0]


def sum_over_ranks(counted: Tensor, device: torch.device) -> Tensor:
    """The sum of what each rank counted, on the CPU."""
    # gloo and nccl each take their own device's tensors; MPS has no doubles, but no ranks either.
    return all_sum(counted.to(device) if device.type == "cuda" else counted.cpu()).cpu()

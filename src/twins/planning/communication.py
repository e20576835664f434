"""The all-reduce of gradients, as DistributedDataParallel does it behind the backward pass."""

from __future__ import annotations

from .assumptions import LINK_SHARE
from .hardware import GPUS_A_NODE, Gpu

_SINGLE = 4  # bytes of a gradient, float32


def all_reduce_bytes(trained: int, gpus: int) -> float:
    """What each of `gpus` sends in a ring all-reduce of the gradients: 2 (n - 1) / n times their bytes."""
    return 2 * (gpus - 1) / gpus * _SINGLE * trained


def all_reduce_seconds(trained: int, gpus: int, gpu: Gpu, network: float) -> float:
    """How long that takes, through the slowest link of the ring.

    Within a node that is the link between two GPUs. Between nodes all GPUs of a node share its network, of `network`
    Gbit/s; NCCL's rings, one a GPU, then carry the same bytes out of each node.
    """
    within = gpu.link * 1e9
    slowest = within if gpus <= GPUS_A_NODE else min(within, network * 1e9 / 8)
    return all_reduce_bytes(trained, gpus) / (slowest * LINK_SHARE)

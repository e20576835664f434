"""One process or many: this process's rank and device, the process group, and DistributedDataParallel."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed
from torch import nn

from ..errors import TwinsError
from .activity import this_process
from .attempt import join_attempt
from .gradient_mean import mean_in_order_of_ranks
from .lost_ranks import lost_ranks_named
from .signs_of_life import SignsOfLife
from .sync_batch_norm import synchronise_batch_norms


@dataclass(frozen=True)
class World:
    """This process among all that train together, as torchrun describes it in the environment."""

    rank: int  # 0 to size - 1
    size: int  # processes
    device: torch.device  # this process's own

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    @property
    def collective_device(self) -> torch.device:
        """Where tensors have to be that all ranks add up: nccl takes the GPU's, gloo the CPU's."""
        return self.device if self.device.type == "cuda" else torch.device("cpu")

    def describe(self) -> str:
        """The device, and how many threads and processes: "cpu, 2 threads"."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        threads = f", {torch.get_num_threads()} threads" if self.device.type == "cpu" else ""
        return f"{name}{threads}" + (f", {self.size} processes" if self.size > 1 else "")


PATIENCE = timedelta(minutes=5)  # with a rank that does not take its part


@contextmanager
def init_distributed(device: str = "auto", timeout: timedelta = PATIENCE) -> Iterator[World]:
    """Join the process group of those that torchrun started, inside a `with` block; a single process needs none.

    nccl on GPUs, gloo otherwise. Where there is a process group already, of a block around this one, it stays that.

    Raises TwinsError for a device that is not there and for ranks that do not come within `timeout`. When a rank dies,
    or does not take its part in a collective for so long, LostRanksError says on one rank which it is, and the others
    end by SystemExit.
    """
    size = int(os.environ.get("WORLD_SIZE", 1))
    rank = int(os.environ.get("RANK", 0))
    ours = choose_device(device, local_rank=int(os.environ.get("LOCAL_RANK", 0)))
    if ours.type == "cuda":
        torch.cuda.set_device(ours)
    if size == 1 or torch.distributed.is_initialized():
        yield World(rank, size, ours)
        return
    attempt = join_attempt(timeout)
    signs = SignsOfLife(attempt, this_process, timeout)
    try:
        with lost_ranks_named(signs):
            backend = "nccl" if ours.type == "cuda" else "gloo"
            torch.distributed.init_process_group(
                backend, timeout=timeout, store=attempt.store, rank=rank, world_size=size
            )
            yield World(rank, size, ours)
    finally:
        if torch.distributed.is_initialized() and not signs.others_lost:  # which it would wait for
            torch.distributed.destroy_process_group()


def choose_device(device: str, local_rank: int = 0) -> torch.device:
    """`auto` takes the best there is; anything else is taken at its word. Raises TwinsError if it is not there."""
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", local_rank)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise TwinsError(f"--device {device}: no such device; use auto, cuda, cuda:N, mps or cpu") from error
    if chosen.type == "cuda":
        if not torch.cuda.is_available():
            raise TwinsError("--device cuda: this PyTorch sees no CUDA GPU; use --device auto or cpu")
        chosen = torch.device("cuda", local_rank) if chosen.index is None else chosen
        if (chosen.index or 0) >= torch.cuda.device_count():
            raise TwinsError(f"--device {device}: there are {torch.cuda.device_count()} CUDA GPUs, counted from 0")
    elif chosen.type == "mps" and not torch.backends.mps.is_available():
        raise TwinsError("--device mps: this PyTorch sees no Apple GPU; use --device auto or cpu")
    return chosen


def wrap_ddp(model: nn.Module, world: World) -> nn.Module:
    """DistributedDataParallel: gradients are averaged over all ranks in the backward pass.

    Batch norms take their statistics over all ranks, too. A single process gets the model itself. On CPUs the mean has
    the same bits in a run that goes on as in one that was not interrupted.
    """
    if world.size == 1:
        return model
    synchronise_batch_norms(model, world.device)
    ids = [world.device.index] if world.device.type == "cuda" else None
    # A warning about the depthwise convolutions, whose axis of size one has two equally good strides.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    network = nn.parallel.DistributedDataParallel(model, device_ids=ids)
    if world.device.type == "cpu":
        network.register_comm_hook(None, mean_in_order_of_ranks)
    return network

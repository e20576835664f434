"""FSDP2: each rank keeps a share of every weight, of its gradient and of what the optimiser remembers of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from ..model import Block
from .sync_batch_norm import synchronise_batch_norms
from .world import World


def shard(model: nn.Module, world: World, optimizer: torch.optim.Optimizer | None = None) -> nn.Module:
    """`wrap_ddp`'s counterpart, in place: gradients are averaged over all ranks; each keeps its rows of every weight.

    Blocks are gathered one by one where they are needed, the other weights together, from the first layer to the last
    of the backward pass. Batch norms take their statistics over all ranks. The model may be on the CPU: then no device
    ever holds the whole of it. An `optimizer` of the whole weights becomes one of the shards, its state included.
    """
    synchronise_batch_norms(model, world.device)
    mesh = init_device_mesh(world.device.type, (world.size,))
    whole = dict(model.named_parameters())
    for block in [module for module in model.modules() if isinstance(module, Block)]:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    if optimizer is not None:
        _shard_optimizer(optimizer, {whole[name]: share for name, share in model.named_parameters()})
    return model


def _shard_optimizer(optimizer: torch.optim.Optimizer, share_of: Mapping[Tensor, Any]) -> None:
    """Put the shards in the place of the weights that they are of."""
    saved = optimizer.state_dict()
    for group in optimizer.param_groups:
        group["params"] = [share_of[weight] for weight in group["params"]]
    shares = [share for group in optimizer.param_groups for share in group["params"]]
    saved["state"] = {
        index: {name: _split_like(value, shares[index]) for name, value in state.items()}
        for index, state in saved["state"].items()
    }
    optimizer.load_state_dict(saved)


def _split_like(value: Any, share: DTensor) -> Any:
    """This rank's share of a tensor that has a number for each one of a weight; other values as they are."""
    if not isinstance(value, Tensor) or value.shape != share.shape:
        return value
    split = distribute_tensor(value.to(share.device), share.device_mesh, share.placements, src_data_rank=None)
    return split.clone()  # a view would keep the whole


@contextmanager
def gathered(model: nn.Module) -> Iterator[None]:
    """Inside, every rank holds the whole of a sharded network, so that ranks need not meet in its forward passes.

    Weights must not change inside. Nothing is done to other networks.
    """
    parts = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.reshard()
            part.set_reshard_after_forward(part is not model, recurse=False)
        if isinstance(model, FSDPModule) and hasattr(model, "reset_iter_state"):  # which earlier PyTorch lacks
            model.reset_iter_state()  # forgets the forward passes, as a backward pass would: an average has none

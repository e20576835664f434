"""Gradients of several ranks: added up in one order, whatever DistributedDataParallel does to its buckets."""

from __future__ import annotations

from pathlib import Path

import torch

from helpers.ranks import run_ranks
from helpers.tiny import TINY
from twins import create_model
from twins.distributed.world import init_distributed, wrap_ddp


def note_gradients(folder: Path) -> None:
    """What each rank does: the gradients of the same update three times."""
    with init_distributed("cpu") as world:
        torch.manual_seed(0)
        network = wrap_ddp(create_model("twins_svt_small", num_classes=2, **TINY), world)
        torch.manual_seed(1 + world.rank)
        images = torch.randn(1, 3, 40, 40)
        updates = []
        for _ in range(3):
            network.zero_grad()
            network(images).square().sum().backward()
            updates.append([parameter.grad.clone() for parameter in network.parameters()])
        torch.save(updates, folder / f"{world.rank}.pt")


def test_the_first_update_adds_up_as_every_other(tmp_path: Path) -> None:
    run_ranks(4, note_gradients, tmp_path)
    first, *others = (torch.load(tmp_path / f"{rank}.pt") for rank in range(4))
    assert all(torch.equal(a, b) for update in first[1:] for a, b in zip(update, first[0], strict=True))
    for other in others:
        assert all(torch.equal(a, b) for a, b in zip(other[0], first[0], strict=True))

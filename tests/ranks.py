"""Several processes that learn together, without importing PyTorch anew in each: they are forked from one that has.

What torchrun does beyond that, and that commands start under it, tests/test_original_command_line.py asks.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from typing import Any

import torch
from torch.distributed import TCPStore

_PRELOADED = ["torch", "timm.data", "twins.train", "twins.tasks.classify", "twins.tasks.segment", "twins.tasks.detect"]


def run_ranks(processes: int, work: Callable[..., object], *args: Any, timeout: float = 200) -> None:
    """Call `work(*args)`, a function of a module, on so many gloo processes; all of them have to end well."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    store = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)  # whose port nobody else has
    ranks = [
        context.Process(target=_as_rank, args=(rank, processes, store.port, work, args)) for rank in range(processes)
    ]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(timeout)
        if rank.exitcode != 0:  # the others may wait for it for ever
            for other in ranks:
                other.kill()
    assert [rank.exitcode for rank in ranks] == [0] * processes


def _as_rank(rank: int, processes: int, port: int, work: Callable[..., object], args: tuple[Any, ...]) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes),
                   "MASTER_ADDR": "localhost", "MASTER_PORT": str(port),
                   "TORCHELASTIC_USE_AGENT_STORE": "True"}  # fmt: skip  # the store is there already, as under torchrun
    torch.set_num_threads(1)
    work(*args)

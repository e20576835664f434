"""Several processes that learn together, without importing PyTorch anew in each: they are forked from one that has.

What torchrun does beyond that, and that commands start under it, tests/test_main.py asks.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from typing import Any

import torch
from torch.distributed import TCPStore

_PRELOADED = [
    "torch",
    "timm.data",
    "twins.training.loop",
    "twins.tasks.classify",
    "twins.tasks.segment",
    "twins.tasks.detect",
]


def run_ranks(processes: int, work: Callable[..., object], *args: Any, timeout: float = 200) -> None:
    """Call `work(*args)`, a function of a module, on so many gloo processes; all of them have to end well."""
    store = new_store()
    ranks = start_ranks(store, processes, work, *args)
    running, deadline = {rank.sentinel: rank for rank in ranks}, time.monotonic() + timeout
    while running:
        ended = [running.pop(sentinel) for sentinel in wait(running, deadline - time.monotonic())]
        if not ended or any(rank.exitcode for rank in ended):  # the others may wait for it for ever
            for rank in ranks:
                rank.kill()
                rank.join()
            break
    assert [rank.exitcode for rank in ranks] == [0] * processes


def new_store() -> TCPStore:
    """A store as torchrun keeps one for a job, at a port that nobody else has."""
    return TCPStore("localhost", 0, is_master=True, wait_for_workers=False)


def start_ranks(store: TCPStore, processes: int, work: Callable[..., object], *args: Any) -> list[Any]:
    """Start `work(*args)` on so many processes, an attempt of the job that the store is of."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    ranks = [
        context.Process(target=_as_rank, args=(rank, processes, store.port, work, args)) for rank in range(processes)
    ]
    for rank in ranks:
        rank.start()
    return ranks


def ends_of(ranks: list[Any], timeout: float = 120, grace: float = 10) -> list[int | None]:
    """The exit codes of ranks that may fail; None for one that is still there so long after another's end."""
    wait([rank.sentinel for rank in ranks], timeout)
    deadline = time.monotonic() + grace
    for rank in ranks:
        rank.join(max(deadline - time.monotonic(), 0.0))
    ends = [rank.exitcode for rank in ranks]
    for rank in ranks:
        rank.kill()
        rank.join()
    return ends


def _as_rank(rank: int, processes: int, port: int, work: Callable[..., object], args: tuple[Any, ...]) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes),
                   "MASTER_ADDR": "localhost", "MASTER_PORT": str(port),
                   "TORCHELASTIC_USE_AGENT_STORE": "True"}  # fmt: skip  # the store is there already, as under torchrun
    torch.set_num_threads(1)
    work(*args)

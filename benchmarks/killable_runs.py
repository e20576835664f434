"""Runs of `twins train` on one process or several, forked from this one, which has imported everything already.

A group of ranks is what an agent such as torchrun starts: it holds the store by which they find one another, and once
one of them is dead it kills the others.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def adopt_orphans() -> None:
    """Become the parent of loader workers whose rank was killed, so that none of them outlives `Ranks.end`."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def fork(work: Callable[[], int]) -> int:
    """The process id of a child that calls `work` and exits with what it returns; it dies with this process.

    Raises RuntimeError where this process has threads: their locks would stay locked in the child.
    """
    if len(os.listdir("/proc/self/task")) > 1:
        raise RuntimeError("a process with threads must not be forked: set OMP_NUM_THREADS=1 before torch is imported")
    sys.stdout.flush()
    parent = os.getpid()
    child = os.fork()
    if child:
        return child
    status = 70  # of an exception, as sysexits.h has it
    try:
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:  # it has not died in between
            status = work()
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def children(process: int) -> list[int]:
    """Those that its main thread has started; none once it has ended."""
    try:
        return list(map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split()))
    except (FileNotFoundError, ProcessLookupError):
        return []


class Ranks:
    """The processes of one attempt at a run: each calls `work`, which returns its exit status."""

    def __init__(self, processes: int, work: Callable[[], int]) -> None:
        self.started = time.monotonic()
        self.statuses: dict[int, int] = {}  # of the ranks that have ended, by process id; negative: the signal's number
        port, self.agent = _start_agent() if processes > 1 else (0, 0)
        self.ranks = [fork(partial(_as_rank, rank, processes, port, work)) for rank in range(processes)]

    @property
    def age(self) -> float:
        """Seconds since they were started."""
        return time.monotonic() - self.started

    def running(self) -> list[int]:
        """The ranks that have not ended."""
        for rank in self.ranks:
            if rank not in self.statuses:
                ended, status = os.waitpid(rank, os.WNOHANG)
                if ended:
                    self.statuses[rank] = os.waitstatus_to_exitcode(status)
        return [rank for rank in self.ranks if rank not in self.statuses]

    def workers(self) -> list[int]:
        """The processes that load data for the ranks."""
        return [worker for rank in self.running() for worker in children(rank)]

    def wait(self, until: float) -> bool:
        """Until all have ended, one of them badly, or they are so many seconds old; returns whether all have ended."""
        while self.running() and not any(self.statuses.values()) and self.age < until:
            time.sleep(0.002)
        return not self.running()

    def end(self) -> list[int]:
        """Kill whatever is left, workers too; returns the exit statuses of those ranks that had ended by themselves."""
        ended = [self.statuses[rank] for rank in self.ranks if rank in self.statuses]
        for process in filter(None, (*self.ranks, self.agent)):
            _kill_group(process, leader_too=process not in self.statuses)
        while True:  # including the workers, which are ours once their rank is dead
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                return ended


def _as_rank(rank: int, processes: int, port: int, work: Callable[[], int]) -> int:
    os.setsid()  # a group of its own, of which its workers are
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if processes > 1:
        os.environ |= {
            **{"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)},
            **{"LOCAL_WORLD_SIZE": str(processes), "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)},
            **{"TORCHELASTIC_USE_AGENT_STORE": "True"},  # it is there already, as under torchrun
        }
    return work()


def _start_agent() -> tuple[int, int]:
    """The port of a store, and the process that holds it."""
    read, write = os.pipe()

    def hold_store() -> int:
        from torch.distributed import TCPStore

        os.setsid()
        store = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)  # whose port nobody else has
        os.write(write, b"%d\n" % store.port)
        while True:
            signal.pause()

    agent = fork(hold_store)
    os.close(write)
    with os.fdopen(read) as file:
        return int(file.readline()), agent


def _kill_group(leader: int, leader_too: bool) -> None:
    """Kill a process, unless it has ended, and its group, which it may not have made yet."""
    if leader_too:
        os.kill(leader, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")

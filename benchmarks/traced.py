"""Work in a process of its own under strace, from its first system call on."""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from killable_runs import fork

BEGINS, ENDS = "/work-begins", "/work-ends"  # files that are asked for, to mark a trace
PR_SET_PTRACER, PR_SET_PTRACER_ANY = 0x59616D61, -1


class Traced(NamedTuple):
    """What became of the work: what strace wrote, and the exit status; negative: the signal's number."""

    trace: str
    status: int


def need_strace() -> None:
    """Ends the program where strace is not installed."""
    if shutil.which("strace") is None:
        sys.exit("strace is needed: install the package of that name")


def mark(name: str) -> None:
    """Leave a name in the trace."""
    os.access(name, os.F_OK)


def traced(work: Callable[[], int], options: Sequence[str], folder: Path) -> Traced:
    """Call `work` in a fork under `strace OPTIONS`; what it returns is the exit status.

    Between two marks, BEGINS and ENDS, the trace holds what `work` did, and nothing of importing Python or PyTorch.
    """
    read, write = os.pipe()

    def wait_and_work() -> int:
        ctypes.CDLL(None).prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0)  # where Yama lets parents trace alone
        os.close(write)
        select.select([read], [], [])  # and no `read`, of which a fault may be counting the calls
        mark(BEGINS)
        status = work()
        mark(ENDS)
        return status

    process = fork(wait_and_work)
    os.close(read)
    file = folder / "trace"
    command = ["strace", "-f", "-o", str(file), *options, "-p", str(process)]
    strace = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert strace.stderr is not None
    first = strace.stderr.readline()
    if "attached" not in first:
        os.close(write)
        sys.exit(f"strace cannot trace here: {first.strip()}")
    os.write(write, b".")
    os.close(write)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    strace.communicate()
    return Traced(file.read_text(), status)

"""Processes of `twins` that begin within a second: forked from one that has imported everything already."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from typing import TextIO

from twins.cli import main

_FORKED = multiprocessing.get_context("forkserver")
_FORKED.set_forkserver_preload(["twins.cli", "twins.serve.running", "twins.commands.serve"])


class ForkedTwins:
    """`twins` with these arguments, and as much of `subprocess.Popen` as `ServerProcess` needs."""

    def __init__(self, arguments: Sequence[str]) -> None:
        reading, writing = _FORKED.Pipe(duplex=False)
        self.process: ForkServerProcess = _FORKED.Process(target=_run, args=(list(arguments), writing))
        self.process.start()
        writing.close()
        self.stdout: TextIO = os.fdopen(os.dup(reading.fileno()), encoding="utf-8")
        reading.close()

    def send_signal(self, number: signal.Signals) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def poll(self) -> int | None:
        return self.process.exitcode

    def kill(self) -> None:
        self.process.kill()

    def wait(self, seconds: float | None = None) -> int:
        """Raises TimeoutError."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            raise TimeoutError(f"twins still runs after {seconds} seconds")
        return self.process.exitcode


def _run(arguments: list[str], output: Connection) -> None:
    for descriptor in (1, 2):
        os.dup2(output.fileno(), descriptor)
    output.close()
    sys.stdout, sys.stderr = (os.fdopen(descriptor, "w", buffering=1, closefd=False) for descriptor in (1, 2))
    sys.exit(main(arguments))

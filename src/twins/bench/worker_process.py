"""Functions in a process of their own, so that settings of the whole process, its allocator's, are their own too."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch

Calls = dict[str, Callable[[], Any]]


class WorkerProcess:
    """Functions that live in another process: `call(name)` runs one there and returns its result.

    `start(*settings)` makes them there. It is pickled by name, and settings and results by value, tensors as NumPy
    arrays. Raises what was raised there, and RuntimeError for a process that died. The process ends with this object.
    """

    def __init__(self, start: Callable[..., Calls], *settings: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        threads = torch.get_num_threads()
        process = context.Process(target=_serve, args=(theirs, threads, start, settings), daemon=True)
        process.start()
        theirs.close()
        self._result()

    def call(self, name: str) -> Any:
        self._connection.send(name)
        return self._result()

    def _result(self) -> Any:
        try:
            succeeded, result = self._connection.recv()
        except EOFError:
            raise RuntimeError("its process died") from None
        if not succeeded:
            raise result
        return result


def _serve(connection: Connection, threads: int, start: Callable[..., Calls], settings: tuple[Any, ...]) -> None:
    """Run what is asked for until the other end is closed; after an error nothing more is run."""
    try:
        torch.set_num_threads(threads)
        calls = start(*settings)
        connection.send((True, None))
        while True:
            connection.send((True, calls[connection.recv()]()))
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        pass
    except Exception as error:  # whatever a library raises is raised in the process that asked
        connection.send((False, error))

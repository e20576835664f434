"""Functions in another process: what they return and raise arrives here."""

from __future__ import annotations

import os
from collections.abc import Callable
from multiprocessing import Pipe
from threading import Thread

import pytest
import torch

from twins.bench.worker_process import WorkerProcess, _serve


def make_calls(message: str) -> dict[str, Callable[[], object]]:
    """One that returns, one that fails, one that ends its process."""
    if message == "at once":
        raise ValueError(message)

    def fail() -> None:
        raise KeyError(message)

    return {"return": lambda: message, "fail": fail, "end": lambda: os._exit(3)}


def test_results_come_back_until_the_process_dies() -> None:
    worker = WorkerProcess(make_calls, "later")
    assert worker.call("return") == "later"
    with pytest.raises(RuntimeError, match="its process died"):
        worker.call("end")


@pytest.mark.parametrize(("message", "calls", "replies"), [
    ("at once", [], [(False, "at once")]),
    ("later", ["return", "fail"], [(True, None), (True, "later"), (False, "later")]),
    ("later", [], [(True, None)]),
])  # fmt: skip
def test_the_first_error_is_the_last_reply(message: str, calls: list[str], replies: list[object]) -> None:
    """What the other process does, in a thread: it ends after an error, and when nothing more will be asked for."""
    ours, theirs = Pipe()
    process = Thread(target=_serve, args=(theirs, torch.get_num_threads(), make_calls, (message,)))
    process.start()
    for call in calls:
        ours.send(call)
    received = [ours.recv() for _ in replies]
    ours.close()
    process.join(timeout=10)
    assert not process.is_alive()
    assert [(ok, result.args[0] if isinstance(result, Exception) else result) for ok, result in received] == replies


@pytest.mark.parametrize("error", [ValueError("at once"), KeyError("later")])
def test_errors_of_another_process_are_raised_here(error: Exception) -> None:
    worker = object.__new__(WorkerProcess)
    worker._connection, theirs = Pipe()
    theirs.send((False, error))
    with pytest.raises(type(error), match=error.args[0]):
        worker.call("fail")

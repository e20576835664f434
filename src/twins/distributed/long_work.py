"""Work that takes one rank minutes, as listing a million files does, while the others wait.

Nobody waits within a collective for longer than a few seconds, so that a process group's timeout, which is for ranks
that hang, ends none of it.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

import torch.distributed

from ..errors import TwinsError
from .collectives import all_gather_object, from_main, is_main

T = TypeVar("T")

_LONGEST = 5.0  # seconds between two looks at whether all are done


def by_main(work: Callable[[], T]) -> T:
    """What `work` returns in the main process, on every rank; every rank must call.

    Raises TwinsError on all of them where it does.
    """
    result: T = from_main(all_wait_for(work if is_main() else None))
    return result


def all_wait_for(work: Callable[[], T] | None) -> T | None:
    """What this rank's `work` returns, once every rank that has some is done; None without; every rank must call.

    Raises TwinsError on all ranks where it does on one, and what else `work` raises on its own.
    """
    if not torch.distributed.is_initialized():
        return None if work is None else work()
    pool = ThreadPoolExecutor(1)
    future: Future[T] | None = None if work is None else pool.submit(work)
    try:
        pause = 0.02
        while True:
            states = all_gather_object(_state(future, pause))
            if future is not None and future.done():
                future.result()  # raises what went wrong here
            for failure in states:
                if isinstance(failure, str):
                    raise TwinsError(failure)
            if all(states):
                return None if future is None else future.result()
            pause = min(2 * pause, _LONGEST)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _state(future: Future[Any] | None, pause: float) -> bool | str:
    """Whether a rank is done, after a moment; or what went wrong."""
    if future is None:
        return True
    wait([future], timeout=pause)
    if not future.done():
        return False
    error = future.exception()
    if error is None:
        return True
    return str(error) if isinstance(error, TwinsError) else f"{type(error).__name__}: {error}"

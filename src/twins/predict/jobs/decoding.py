"""Images made ready for the network by threads beside it, in order, and no more of them than will soon be needed."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...data.images import UnreadableImageError
from ...preprocessing import Size
from ..predictors import Predictor
from .records import ImageRecord

NICENESS = 10  # of the threads: the network's own come first, since the others wait for these
AT_A_TIME = 8  # images that a thread makes ready: caches of a core that the network needs too change hands less often


class ReadyImage(NamedTuple):
    """An image as the network takes it; or, where `tensor` is None, why it cannot be read."""

    name: str
    size: Size  # as it was read, upright; (0, 0) where it was not
    tensor: Tensor | None
    error: str | None = None


def ready_images(
    predictor: Predictor[Any], records: Iterable[ImageRecord], workers: int, ahead: int
) -> Generator[ReadyImage, None, None]:
    """Read and transform images by so many threads, about `ahead` of them before they are asked for.

    Decoders and PyTorch let other threads run meanwhile. Raises what `records` does.
    """
    waiting: deque[Future[list[ReadyImage]]] = deque()
    at_a_time = min(AT_A_TIME, max(ahead // (2 * workers), 1))
    left = iter(records)
    with _threads(workers) as pool:
        while some := list(islice(left, at_a_time)):
            waiting.append(pool.submit(_ready, predictor, some))
            if len(waiting) * at_a_time > ahead:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _ready(predictor: Predictor[Any], records: Sequence[ImageRecord]) -> list[ReadyImage]:
    return [_ready_image(predictor, record) for record in records]


def _ready_image(predictor: Predictor[Any], record: ImageRecord) -> ReadyImage:
    try:
        size, tensor = predictor.prepare(record.image)
        return ReadyImage(record.name, size, tensor)
    except UnreadableImageError as error:
        return ReadyImage(record.name, (0, 0), None, str(error))


@contextlib.contextmanager
def _threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Threads in which PyTorch computes alone, while this one keeps as many as it has."""
    here = torch.get_num_threads()
    started = threading.Barrier(count + 1)
    pool = ThreadPoolExecutor(count, "decoding", partial(_alone, started))
    try:
        for _ in range(count):
            pool.submit(_nothing)
        started.wait()
        torch.set_num_threads(here)  # MKL's number is the whole process's
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _alone(started: threading.Barrier) -> None:
    torch.set_num_threads(1)
    if sys.platform == "linux":  # where threads have a niceness each
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
    started.wait()


def _nothing() -> None:
    """For a pool that starts a thread a task."""

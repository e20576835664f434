"""Images made ready for the network by threads beside it, in order, and no more of them than will soon be needed."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from ...data.images import UnreadableImageError
from ...preprocessing import Size
from ..predictors import Predictor
from .records import ImageRecord

PATIENCE = 2.0  # seconds of waiting for an image, after which threads of the lowest priority are taken to get nowhere


class ReadyImage(NamedTuple):
    """An image as the network takes it; or, where `tensor` is None, why it cannot be read."""

    name: str
    size: Size  # as it was read, upright; (0, 0) where it was not
    tensor: Tensor | None
    error: str | None = None


def ready_images(
    predictor: Predictor[Any], records: Iterable[ImageRecord], workers: int, ahead: int
) -> Generator[ReadyImage, None, None]:
    """Read and transform images by so many threads, at most `ahead` more than were asked for.

    Decoders and PyTorch let other threads run meanwhile. Raises what `records` does, once those before are used up.
    """
    with _Threads(partial(_ready, predictor), workers) as threads:
        for record in records:
            threads.begin(record)
            if len(threads) > ahead:
                yield threads.next_ready()
        while threads:
            yield threads.next_ready()


def _ready(predictor: Predictor[Any], record: ImageRecord) -> ReadyImage:
    try:
        size, tensor = predictor.prepare(record.image)
        return ReadyImage(record.name, size, tensor)
    except UnreadableImageError as error:
        return ReadyImage(record.name, (0, 0), None, str(error))


class _Threads:
    """Threads beside the network, and the images that they have begun or will begin with, in order.

    On Linux they only run where a core has nothing else to do. Where the network needs all cores, they run between its
    batches then, and a core's caches do not change hands over and over: with two cores that makes a job a thirtieth
    faster. But beside other busy processes they would get nowhere, so that others take over once that shows.
    """

    def __init__(self, work: Callable[[ImageRecord], ReadyImage], count: int) -> None:
        self.work, self.count = work, count
        self.begun: deque[tuple[ImageRecord, Future[ReadyImage]]] = deque()
        self.pool = _pool(count, _yield_to_all)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown(wait=False, cancel_futures=True)

    def __len__(self) -> int:
        return len(self.begun)

    def begin(self, record: ImageRecord) -> None:
        self.begun.append((record, self.pool.submit(self.work, record)))

    def next_ready(self) -> ReadyImage:
        """The image that was begun before all others."""
        _, image = self.begun[0]
        try:
            ready = image.result(PATIENCE)
        except TimeoutError:
            self._take_over()
            ready = self.begun[0][1].result()
        self.begun.popleft()
        return ready

    def _take_over(self) -> None:
        """By threads of usual priority, which begin with what the others have not."""
        self.pool.shutdown(wait=False)
        self.pool = _pool(self.count, _nothing)
        for number, (record, image) in enumerate(self.begun):
            if image.cancel():
                self.begun[number] = (record, self.pool.submit(self.work, record))


def _pool(count: int, set_priority: Callable[[], None]) -> ThreadPoolExecutor:
    """Threads in which PyTorch computes alone, while this one keeps as many as it has."""
    here = torch.get_num_threads()
    started = threading.Barrier(count + 1)

    def begin() -> None:
        torch.set_num_threads(1)
        set_priority()
        started.wait()

    pool = ThreadPoolExecutor(count, "decoding", begin)
    for _ in range(count):
        pool.submit(_nothing)  # starts a thread each
    started.wait()
    torch.set_num_threads(here)  # MKL's number is the whole process's
    return pool


def _yield_to_all() -> None:
    if sys.platform == "linux":  # where threads have a priority each
        os.sched_setscheduler(threading.get_native_id(), os.SCHED_IDLE, os.sched_param(0))


def _nothing() -> None:
    """Neither a task nor a priority."""

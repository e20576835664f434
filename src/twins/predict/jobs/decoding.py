"""Images made ready for the network by threads beside it, in order, and no more of them than will soon be needed."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...data.images import UnreadableImageError, read_image, size_of
from ...preprocessing import Size
from ..predictors import Predictor
from .records import ImageRecord

NICENESS = 10  # of the threads: the network's own come first, since the others wait for these


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
    waiting: deque[Future[ReadyImage]] = deque()
    with _threads(workers) as pool:
        try:
            for record in records:
                waiting.append(pool.submit(_ready, predictor, record))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _ready(predictor: Predictor[Any], record: ImageRecord) -> ReadyImage:
    try:
        image = read_image(record.image, predictor.channels, predictor.reading)
        return ReadyImage(record.name, size_of(image), predictor.as_tensor(image))
    except UnreadableImageError as error:
        return ReadyImage(record.name, (0, 0), None, str(error))


@contextmanager
def _threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Threads in which PyTorch computes alone, while this one keeps as many as it has."""
    here = torch.get_num_threads()
    started = threading.Barrier(count + 1)
    with ThreadPoolExecutor(count, "decoding", partial(_alone, started)) as pool:
        for _ in range(count):
            pool.submit(_nothing)
        started.wait()
        torch.set_num_threads(here)  # MKL's number is the whole process's
        yield pool


def _alone(started: threading.Barrier) -> None:
    torch.set_num_threads(1)
    if sys.platform == "linux":  # where threads have a niceness each
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
    started.wait()


def _nothing() -> None:
    """For a pool that starts a thread a task."""

"""One network, one thread: images of different requests go through it together, and each prediction to who asked."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Condition, Lock, Thread
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..preprocessing import Size

Network = Callable[[Sequence[Tensor], Sequence[Size]], list[Any]]  # `Predictor.predict_tensors`


class Answer(NamedTuple):
    """A prediction, and how it came about."""

    prediction: Any
    waited: float  # seconds in the queue
    computed: float  # seconds in the network, of the whole batch


class _Waiting(NamedTuple):
    """An image in the queue, and whose it is."""

    tensor: Tensor
    size: Size
    since: float
    answer: Future[Answer]


class Batcher:
    """The queue before a network, and the thread that empties it.

    Parameters
    ----------
    network:
        Is called with at most `max_batch` images, in this batcher's thread alone.
    max_wait:
        Seconds that the first image of a batch waits for others; none where there are enough already.
    turn:
        Is held while the network computes: networks that share a CPU take turns.
    observe:
        Is told of each batch: how many images, and the seconds they took.

    The queue itself has no bound: whoever asks has a place in a `Room` first.
    """

    def __init__(
        self, network: Network, max_batch: int, max_wait: float, turn: Lock, observe: Callable[[int, float], None]
    ) -> None:
        self.network, self.max_batch, self.max_wait, self.turn, self.observe = (
            network,
            max_batch,
            max_wait,
            turn,
            observe,
        )
        self.seconds_per_image = 0.0  # of late, for those who have to come again
        self._queue: deque[_Waiting] = deque()
        self._changed = Condition()
        self._closed = False
        self._thread = Thread(target=self._run, name="network", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Predict what is in the queue, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    async def predict(self, tensor: Tensor, size: Size) -> Answer:
        """The prediction for an image as `as_tensor` makes it ready; raises what the network raises for it."""
        waiting = _Waiting(tensor, size, time.perf_counter(), Future())
        with self._changed:
            self._queue.append(waiting)
            self._changed.notify()
        return await asyncio.wrap_future(waiting.answer)

    def _run(self) -> None:
        with torch.no_grad():
            while batch := self._next_batch():
                wanted = [waiting for waiting in batch if waiting.answer.set_running_or_notify_cancel()]
                if wanted:
                    self._compute(wanted)

    def _next_batch(self) -> list[_Waiting]:
        """Empty once the batcher is closed and the queue is."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed)
            if self._queue:
                left = self._queue[0].since + self.max_wait - time.perf_counter()
                self._changed.wait_for(lambda: len(self._queue) >= self.max_batch or self._closed, max(left, 0))
            return [self._queue.popleft() for _ in range(min(self.max_batch, len(self._queue)))]

    def _compute(self, batch: list[_Waiting]) -> None:
        with self.turn:
            started = time.perf_counter()
            try:
                predictions = self.network([one.tensor for one in batch], [one.size for one in batch])
            except Exception as error:  # whatever it is, those who wait have to know
                if len(batch) == 1:
                    batch[0].answer.set_exception(error)
                    return
                predictions = None
            seconds = time.perf_counter() - started
        if predictions is None:  # find the image that is to blame, and answer the others
            for one in batch:
                self._compute([one])
            return
        self.seconds_per_image = seconds / len(batch)
        self.observe(len(batch), seconds)
        for one, prediction in zip(batch, predictions, strict=True):
            one.answer.set_result(Answer(prediction, started - one.since, seconds))

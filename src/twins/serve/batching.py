"""One network, one thread: images of different requests go through it together, and each prediction to who asked."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from threading import Condition, Lock, Thread
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..predict.predictors import Prepared
from ..preprocessing import Size

Network = Callable[[Sequence[Tensor], Sequence[Size]], list[Any]]  # `Predictor.predict_tensors`


class Answer(NamedTuple):
    """A prediction, and how it came about."""

    prediction: Any
    size: Size  # of the image as it was read, upright
    since: float  # when it was ready for the network, by time.perf_counter
    waited: float  # seconds from then on in the queue
    computed: float  # seconds in the network, of the whole batch


class _Waiting(NamedTuple):
    """An image in the queue, and whose it is."""

    image: Prepared
    since: float
    answer: asyncio.Future[Answer]


class Batcher:
    """The queue before a network, and the thread that empties it.

    Parameters
    ----------
    network:
        Is called with at most `max_batch` images, in this batcher's thread alone.
    max_wait:
        Seconds that a batch waits, once the network is free, for images that are still being read; none where there are
        no others, or enough already.
    turn:
        Is held while the network computes: networks that share a CPU take turns.
    observe:
        Is told of each batch: how many images, and the seconds they took.

    All who ask do so in one event loop. The queue itself has no bound: whoever asks has a place in a `Room` first.
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
        self._coming = 0  # images that are being read
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

    async def predict(self, reading: Awaitable[Prepared]) -> Answer:
        """The prediction for what `reading` makes ready; raises what that raises, and the network for this image."""
        with self._changed:
            self._coming += 1
        try:
            image = await reading
        except BaseException:
            self._arrived()
            raise
        waiting = _Waiting(image, time.perf_counter(), asyncio.get_running_loop().create_future())
        self._arrived(waiting)
        return await waiting.answer

    def _arrived(self, *images: _Waiting) -> None:
        """One image fewer is coming: it is there, or will not be."""
        with self._changed:
            self._coming -= 1
            self._queue.extend(images)
            self._changed.notify()

    def _run(self) -> None:
        with torch.no_grad():
            while batch := self._next_batch():
                if wanted := [one for one in batch if not one.answer.cancelled()]:
                    self._compute(wanted)

    def _next_batch(self) -> list[_Waiting]:
        """Empty once the batcher is closed and the queue is."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed)
            self._changed.wait_for(self._is_complete, self.max_wait)
            return [self._queue.popleft() for _ in range(min(self.max_batch, len(self._queue)))]

    def _is_complete(self) -> bool:
        """Whether there is nobody whom a batch should wait for."""
        return len(self._queue) >= self.max_batch or not self._coming or self._closed

    def _compute(self, batch: list[_Waiting]) -> None:
        with self.turn:
            started = time.perf_counter()
            try:
                predictions = self.network([one.image.tensor for one in batch], [one.image.size for one in batch])
            except Exception as error:  # whatever it is, those who wait have to know
                if len(batch) == 1:
                    return _deliver(batch, [error])
                predictions = None
            seconds = time.perf_counter() - started
        if predictions is None:  # find the image that is to blame, and answer the others
            for one in batch:
                self._compute([one])
            return
        self.seconds_per_image = seconds / len(batch)
        self.observe(len(batch), seconds)
        answers = (
            Answer(prediction, one.image.size, one.since, started - one.since, seconds)
            for one, prediction in zip(batch, predictions, strict=True)
        )
        _deliver(batch, list(answers))


def _deliver(batch: Sequence[_Waiting], answers: Sequence[Answer | Exception]) -> None:
    """Hand over all at once: for each of them alone this thread would wait for the event loop's to let it go on."""

    def in_the_loop() -> None:
        for one, answer in zip(batch, answers, strict=True):
            if one.answer.done():  # whoever asked has gone
                continue
            if isinstance(answer, Exception):
                one.answer.set_exception(answer)
            else:
                one.answer.set_result(answer)

    loop = batch[0].answer.get_loop()
    if not loop.is_closed():  # as when the server was ended by force
        loop.call_soon_threadsafe(in_the_loop)

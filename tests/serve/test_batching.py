"""One thread, one network: who gets which prediction, and how many images go through together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from threading import Lock
from typing import Any

import pytest
import torch
from torch import Tensor

from twins.predict.predictors import Prepared
from twins.preprocessing import Size
from twins.serve.batching import Answer, Batcher


class Recorder:
    """A network whose prediction for a tensor is its first number; it notes what it is called with."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.batches: list[list[float]] = []
        self.gradients: set[bool] = set()
        self.seconds = seconds

    def __call__(self, tensors: Sequence[Tensor], sizes: Sequence[Size]) -> list[Any]:
        numbers = [float(tensor[0]) for tensor in tensors]
        assert [size[0] for size in sizes] == numbers
        self.batches.append(numbers)
        self.gradients.add(torch.is_grad_enabled())
        time.sleep(self.seconds)
        if -1.0 in numbers:
            raise ValueError("this image")
        return [10 * number for number in numbers]


async def read(number: float, seconds: float = 0.0) -> Prepared:
    """An image of this number, which takes so many seconds to read."""
    await asyncio.sleep(seconds)
    return Prepared((int(number), 1), torch.tensor([number]))


async def ask(batcher: Batcher, *numbers: float) -> list[Answer | BaseException]:
    return await asyncio.gather(*(batcher.predict(read(number)) for number in numbers), return_exceptions=True)


@pytest.fixture
def started() -> Iterator[Any]:
    batchers: list[Batcher] = []

    def start(network: Recorder, max_batch: int = 4, max_wait: float = 0.2) -> Batcher:
        batchers.append(Batcher(network, max_batch, max_wait, Lock(), lambda images, seconds: None))
        batchers[-1].start()
        return batchers[-1]

    yield start
    for batcher in batchers:
        batcher.close()


def test_images_that_come_together_go_together(started: Any) -> None:
    network = Recorder()
    answers = asyncio.run(ask(started(network), 1, 2, 3, 4, 5, 6, 7, 8, 9))
    assert [answer.prediction for answer in answers] == [10, 20, 30, 40, 50, 60, 70, 80, 90]
    assert network.batches == [[1, 2, 3, 4], [5, 6, 7, 8], [9]]
    assert network.gradients == {False}


def test_a_lone_image_waits_for_nobody(started: Any) -> None:
    (answer,) = asyncio.run(ask(started(Recorder(), max_wait=30.0), 7))
    assert (answer.prediction, answer.size) == (70, (7, 1))
    assert answer.waited < 5.0


def test_a_full_batch_waits_for_nobody(started: Any) -> None:
    async def with_a_late_one(batcher: Batcher) -> list[Answer | BaseException]:
        late = asyncio.create_task(batcher.predict(read(5, seconds=1.0)))
        answers = await ask(batcher, 1, 2, 3, 4)
        assert not late.done()
        return [*answers, await late]

    network = Recorder()
    answers = asyncio.run(with_a_late_one(started(network, max_wait=30.0)))
    assert network.batches == [[1, 2, 3, 4], [5]]
    assert max(answer.waited for answer in answers) < 1.0


def test_a_batch_waits_for_an_image_that_is_being_read(started: Any) -> None:
    async def one_after_the_other(batcher: Batcher) -> list[Answer]:
        return await asyncio.gather(*(batcher.predict(read(number, 0.1 * number)) for number in (1, 2, 3)))

    network = Recorder()
    answers = asyncio.run(one_after_the_other(started(network, max_wait=30.0)))
    assert network.batches == [[1, 2, 3]]
    assert answers[0].waited >= 0.15  # the last is there 0.2 later
    assert answers[0].since < answers[1].since < answers[2].since


def test_a_batch_waits_no_longer_than_it_may(started: Any) -> None:
    async def one_slow(batcher: Batcher) -> list[Answer]:
        return await asyncio.gather(batcher.predict(read(1)), batcher.predict(read(2, seconds=1.0)))

    network = Recorder()
    quick, _ = asyncio.run(one_slow(started(network, max_wait=0.2)))
    assert network.batches == [[1], [2]]
    assert 0.2 <= quick.waited < 0.9


@pytest.mark.parametrize("failure", [ValueError("no image"), asyncio.CancelledError()])
def test_nobody_waits_for_an_image_that_cannot_be_read(started: Any, failure: BaseException) -> None:
    async def broken() -> Prepared:
        await asyncio.sleep(0.1)
        raise failure

    async def both(batcher: Batcher) -> list[Answer | BaseException]:
        return await asyncio.gather(batcher.predict(read(1)), batcher.predict(broken()), return_exceptions=True)

    answer, error = asyncio.run(both(started(Recorder(), max_wait=30.0)))
    assert isinstance(error, type(failure))
    assert answer.prediction == 10
    assert answer.waited < 5.0


def test_many_clients_get_each_its_own(started: Any) -> None:
    """An oracle: 20 clients, 40 images each, every answer checked."""
    network = Recorder()
    batcher = started(network, max_wait=0.001)
    wrong: list[float] = []

    async def client(first: int) -> None:
        for number in range(first, first + 1000, 25):
            answer = await batcher.predict(read(number, seconds=number % 7 / 10_000))
            if answer.prediction != 10 * number:
                wrong.append(number)

    async def all_clients() -> None:
        await asyncio.gather(*(client(10_000 * n) for n in range(1, 21)))

    asyncio.run(all_clients())
    assert wrong == []
    assert sum(map(len, network.batches)) == 800
    assert max(map(len, network.batches)) > 1


def test_the_image_that_breaks_a_batch_breaks_it_alone(started: Any) -> None:
    network = Recorder()
    first, broken, last = asyncio.run(ask(started(network), 1, -1, 3))
    assert (first.prediction, last.prediction) == (10, 30)
    assert isinstance(broken, ValueError)
    assert network.batches == [[1, -1, 3], [1], [-1], [3]]
    assert asyncio.run(ask(started(network), 5))[0].prediction == 50


def test_what_nobody_waits_for_is_not_computed(started: Any) -> None:
    network = Recorder(seconds=0.2)
    batcher = started(network, max_batch=1)

    async def leave() -> None:
        first = asyncio.create_task(batcher.predict(read(1)))
        second = asyncio.create_task(batcher.predict(read(2)))
        await asyncio.sleep(0.1)
        second.cancel()
        await first

    asyncio.run(leave())
    batcher.close()
    assert network.batches == [[1.0]]


def test_closing_finishes_what_is_in_the_queue() -> None:
    network = Recorder(seconds=0.05)
    batcher = Batcher(network, 2, 0.0, Lock(), lambda images, seconds: None)

    async def ask_and_close() -> list[Answer | BaseException]:
        questions = asyncio.create_task(ask(batcher, 1, 2, 3, 4, 5))
        await asyncio.sleep(0.1)  # until all are there
        batcher.start()
        await asyncio.get_running_loop().run_in_executor(None, batcher.close)
        return await questions

    assert [answer.prediction for answer in asyncio.run(ask_and_close())] == [10, 20, 30, 40, 50]
    assert network.batches == [[1, 2], [3, 4], [5]]

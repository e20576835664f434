"""Images made ready by threads beside the network."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from twins.predict.jobs import decoding
from twins.predict.jobs.decoding import ready_images
from twins.predict.jobs.records import ImageRecord
from twins.predict.predictors import Prepared

Work = Callable[[int], None]


class Reader:
    """In place of a predictor: an image is its number, after `work` was done for it."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.policies: list[int] = []
        self.threads: set[int] = set()

    def prepare(self, image: Path) -> Prepared:
        number = int(image.name)
        self.policies.append(os.sched_getscheduler(threading.get_native_id()))
        self.threads.add(torch.get_num_threads())
        self.work(number)
        return Prepared((number, 1), torch.tensor(number))


def numbers(count: int) -> Iterator[ImageRecord]:
    return (ImageRecord(str(number), Path(str(number))) for number in range(count))


def read(reader: Any, count: int, workers: int = 2, ahead: int = 4) -> list[int]:
    return [image.size[0] for image in ready_images(reader, numbers(count), workers, ahead)]


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priority of their own")
def test_images_come_in_order_read_by_threads_of_the_lowest_priority() -> None:
    here = torch.get_num_threads()
    reader = Reader(lambda number: time.sleep(0.02 * (number % 3 == 0)))
    assert read(reader, 20) == list(range(20))
    assert set(reader.policies) == {os.SCHED_IDLE}
    assert reader.threads == {1}
    assert torch.get_num_threads() == here


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priority of their own")
def test_threads_that_get_nowhere_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "PATIENCE", 0.2)
    stuck = threading.Event()

    def work(number: int) -> None:
        if number in (3, 4):  # what two threads have begun with
            stuck.wait(5.0)
        elif number == 6:
            stuck.set()

    reader = Reader(work)
    started = time.perf_counter()
    assert read(reader, 12) == list(range(12))
    assert time.perf_counter() - started < 4.0
    assert set(reader.policies[:5]) == {os.SCHED_IDLE}
    assert set(reader.policies[5:]) == {os.SCHED_OTHER}
    assert len(reader.policies) == 12  # none twice


def test_no_more_are_read_than_will_soon_be_needed() -> None:
    reader = Reader(lambda number: None)
    images = ready_images(reader, numbers(100), workers=2, ahead=4)  # type: ignore[arg-type]
    next(images)
    time.sleep(0.1)
    assert len(reader.policies) == 5
    images.close()

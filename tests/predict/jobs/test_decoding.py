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

from twins.data.images import UnreadableImageError
from twins.predict.jobs.decoding import AT_A_TIME, NICENESS, ready_images
from twins.predict.jobs.records import ImageRecord
from twins.predict.predictors import Prepared


class Reader:
    """In place of a predictor: an image is its number, after `work` was done for it."""

    def __init__(self, work: Callable[[int], None] = lambda number: None) -> None:
        self.work = work
        self.read: list[tuple[int, int]] = []  # number, thread
        self.threads: set[tuple[int, int]] = set()  # of PyTorch in it, niceness

    def prepare(self, image: Path) -> Prepared:
        number, thread = int(image.name), threading.get_native_id()
        self.read.append((number, thread))
        self.threads.add((torch.get_num_threads(), os.getpriority(os.PRIO_PROCESS, thread)))
        self.work(number)
        return Prepared((number, 1), torch.tensor(number))


def numbers(count: int) -> Iterator[ImageRecord]:
    return (ImageRecord(str(number), Path(str(number))) for number in range(count))


@pytest.mark.parametrize("ahead", [3, 34])
def test_images_come_in_order(ahead: int) -> None:
    here = torch.get_num_threads()
    reader: Any = Reader(lambda number: time.sleep(0.02 * (number % 5 == 0)))
    images = list(ready_images(reader, numbers(43), 2, ahead))
    assert [image.size[0] for image in images] == list(range(43))
    assert [image.name for image in images] == [str(number) for number in range(43)]
    assert sorted(number for number, _ in reader.read) == list(range(43))
    assert torch.get_num_threads() == here
    if sys.platform == "linux":
        assert reader.threads == {(1, NICENESS)}


def test_a_thread_reads_several_in_a_row() -> None:
    reader: Any = Reader(lambda number: time.sleep(0.001))
    list(ready_images(reader, numbers(64), 2, ahead=34))
    of_thread: dict[int, list[int]] = {}
    for number, thread in reader.read:
        of_thread.setdefault(thread, []).append(number // AT_A_TIME)
    groups = [group for numbers_of_it in of_thread.values() for group in dict.fromkeys(numbers_of_it)]
    assert sorted(groups) == list(range(8))  # each by one thread


@pytest.mark.parametrize(("workers", "ahead", "read"), [(2, 4, 5), (2, 34, 40), (8, 40, 42)])
def test_no_more_are_read_than_will_soon_be_needed(workers: int, ahead: int, read: int) -> None:
    reader: Any = Reader()
    images = ready_images(reader, numbers(100), workers, ahead)
    next(images)
    time.sleep(0.2)
    assert len(reader.read) == read
    images.close()


def test_an_unreadable_image_says_why_in_its_place() -> None:
    def work(number: int) -> None:
        if number == 2:
            raise UnreadableImageError("2: no image")

    reader: Any = Reader(work)
    images = list(ready_images(reader, numbers(4), 2, ahead=34))
    assert [image.error for image in images] == [None, None, "2: no image", None]
    assert images[2].tensor is None
    assert images[2].size == (0, 0)

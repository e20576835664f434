"""Workers that die are replaced, and images that hang are named, without a sample lost or seen twice."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from twins.data.loading import ImageDataset, make_loader
from twins.data.sampling import TrainingSampler
from twins.data.waiting import StalledError
from twins.training.batches import BatchStream
from twins.training.interruption import Interruption, StoppedError, interruptible

CPU = torch.device("cpu")
NEVER = Interruption(grace=60.0, alone=True)


class Numbers:
    """24 images of one pixel, some of which do something when they are read."""

    in_memory = False

    def __init__(self, folder: Path, dies: Any = (), always: bool = False, hangs: int | None = None) -> None:
        self.folder, self.dies, self.always, self.hangs = folder, dies, always, hangs

    def __len__(self) -> int:
        return 24

    def name(self, index: int) -> str:
        return f"{index}.png"

    def read(self, index: int, channels: int) -> tuple[Any, int]:
        died = self.folder / str(index)
        if index in self.dies and (self.always or not died.exists()):
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if index == self.hangs:
            time.sleep(600)
        return torch.full((1, 1, 1), float(index)), index


@contextmanager
def stream_of(
    images: Numbers, workers: int, said: list[str], interruption: Interruption = NEVER, **times: float
) -> Iterator[BatchStream]:
    dataset = ImageDataset(images, lambda image, label: (image, label), channels=1, seed=0, training=True)
    sampler = TrainingSampler(24, global_batch=4, seed=0, rank=0, ranks=1, drop_last=False)
    loader = make_loader(dataset, sampler, 4, workers, CPU)
    if workers:
        loader.timeout = 0.1
    with BatchStream(loader, sampler, interruption, said.append, **{"read_timeout": 600.0, **times}) as stream:
        yield stream


def epoch_of(stream: BatchStream, epoch: int = 0) -> list[tuple[int, ...]]:
    stream.begin(epoch, 0, 0)
    return [stream.next().indices for _ in range(6)]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_dead_worker_costs_no_sample(tmp_path: Path, workers: int) -> None:
    said: list[str] = []
    before = signal.getsignal(signal.SIGCHLD)
    with stream_of(Numbers(tmp_path), 0, said) as stream:
        expected = [epoch_of(stream, epoch) for epoch in (0, 1)]
    with stream_of(Numbers(tmp_path, dies=(3, 17)), workers, said) as stream:
        assert [epoch_of(stream, epoch) for epoch in (0, 1)] == expected
        assert stream.restarts in (1, 2)  # 2 workers may die together
    assert said[0].startswith("a worker process that loads data has died while ")
    assert "all are started anew, 1 of 3 times" in said[0]
    assert signal.getsignal(signal.SIGCHLD) == before


def test_workers_that_die_again_and_again_end_it(tmp_path: Path) -> None:
    said: list[str] = []
    images = Numbers(tmp_path, dies=tuple(range(24)), always=True)
    with stream_of(images, 1, said) as stream, pytest.raises(StalledError, match="for the 4th time: out of memory"):
        epoch_of(stream)
    assert len(said) == 3


def test_a_read_that_hangs_is_told_and_ends_it(tmp_path: Path) -> None:
    said: list[str] = []
    started = time.monotonic()
    with (
        stream_of(Numbers(tmp_path, hangs=5), 1, said, said_every=0.3, read_timeout=0.8) as stream,
        pytest.raises(StalledError, match=r"no batch for [01] s; waiting for \d+\.png, .*--read-timeout waits longer"),
    ):
        epoch_of(stream)
    assert len(said) == 2
    assert all("no batch for" in line for line in said)
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("workers", [0, 1])
def test_a_signal_ends_the_wait(tmp_path: Path, workers: int) -> None:
    with interruptible(grace=60.0, alone=True) as interruption:
        with stream_of(Numbers(tmp_path, hangs=5), workers, [], interruption) as stream:
            timer = threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGTERM))
            timer.start()
            with pytest.raises(StoppedError):
                epoch_of(stream)
        assert interruption.status == 143


def test_what_the_data_set_raises_stays_what_it_is(tmp_path: Path) -> None:
    class Faulty(Numbers):
        def read(self, index: int, channels: int) -> tuple[Any, int]:
            raise RuntimeError("a fault of the reader")

    with stream_of(Faulty(tmp_path), 1, []) as stream, pytest.raises(RuntimeError, match="a fault of the reader"):
        epoch_of(stream)

"""Which sample comes when: every rank's share of an epoch, of an evaluation, and the few that are drawn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch.utils.data import Sampler

from .randomness import seed_of


class SampleKey(NamedTuple):
    """Names one view of one sample; its randomness follows from this and the seed."""

    image_index: int
    epoch: int = 0
    repeat: int = 0


class TrainingSampler(Sampler[SampleKey]):
    """A rank's share of each epoch.

    All ranks shuffle alike and take turns, so that an update sees the same samples on any number of processes. Ranks
    get equally many, a whole number of global batches: the rest is left out (`drop_last`) or filled up from the next
    lap over the samples, in an order of its own, as a set smaller than one batch always is. With `batches` an epoch is
    so many batches, and as many laps as they take.
    """

    def __init__(
        self,
        count: int,
        global_batch: int,
        seed: int,
        rank: int,
        ranks: int,
        drop_last: bool,
        views: int = 1,
        batches: int | None = None,
    ) -> None:
        self.count, self.seed, self.rank, self.ranks, self.views = count, seed, rank, ranks, views
        whole = count // global_batch
        a_lap = whole if drop_last and whole else -(-count // global_batch)
        self.total = (batches or a_lap) * global_batch
        self.epoch = 0
        self.skip = 0

    def set_epoch(self, epoch: int, skip: int = 0) -> None:
        """Shuffle for this epoch next, without the first `skip` samples of the rank."""
        self.epoch, self.skip = epoch, skip

    def __len__(self) -> int:
        return self.total // self.ranks - self.skip

    def __iter__(self) -> Iterator[SampleKey]:
        current, order = -1, [0]
        for position in range(self.rank + self.skip * self.ranks, self.total, self.ranks):
            lap, position = divmod(position, self.count)
            if lap != current:
                current, order = lap, self._order(lap)
            index, view = order[position // self.views], position % self.views
            yield SampleKey(index, self.epoch, lap * self.views + view)

    def _order(self, lap: int) -> list[int]:
        key = (self.seed, self.epoch, lap) if lap else (self.seed, self.epoch)
        return torch.randperm(self.count, generator=torch.Generator().manual_seed(seed_of("order", *key))).tolist()


class EvaluationSampler(Sampler[SampleKey]):
    """Every sample exactly once over all ranks; shares differ by one where they must."""

    def __init__(self, count: int, rank: int, ranks: int) -> None:
        self.indices = range(rank, count, ranks)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[SampleKey]:
        return (SampleKey(index) for index in self.indices)


def evenly(count: int, wanted: int) -> list[int]:
    """Up to `wanted` indices below `count`, evenly spaced: those of the samples to draw."""
    return sorted({number * count // wanted for number in range(wanted)}) if count else []

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

    All ranks shuffle alike and take turns, so that an update sees the same samples on any number of processes, and an
    epoch may go on with another global batch wherever it was stopped. Ranks get equally many, a whole number of global
    batches: the rest is left out (`drop_last`) or filled up from the next lap over the samples, in an order of its own,
    as a set smaller than one batch always is. With `batches` an epoch is so many global batches, and as many laps as
    they take.
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
        self.global_batch, self.drop_last, self.batches = global_batch, drop_last, batches
        self.set_epoch(0)

    def batches_left(self, samples: int = 0, batches: int = 0) -> int:
        """Global batches that an epoch still takes after its first `samples` over all ranks, given out in `batches`."""
        if self.batches is not None:
            return max(self.batches - batches, 0)
        left = max(self.count - samples, 0)
        whole = left // self.global_batch
        return whole if self.drop_last and (whole or samples) else -(-left // self.global_batch)

    def set_epoch(self, epoch: int, samples: int = 0, batches: int = 0) -> None:
        """Shuffle for this epoch next, without its first `samples` over all ranks, given out in `batches`."""
        self.epoch, self.start = epoch, samples
        self.stop = samples + self.batches_left(samples, batches) * self.global_batch

    def skip(self, samples: int) -> None:
        """Begin so many samples of this rank later: those before have been given out."""
        self.start += samples * self.ranks

    def __len__(self) -> int:
        return (self.stop - self.start) // self.ranks

    def __iter__(self) -> Iterator[SampleKey]:
        current, order = -1, [0]
        for position in range(self.start + self.rank, self.stop, self.ranks):
            lap, position = divmod(position, self.count)
            if lap != current:
                current, order = lap, self._order(lap)
            index, view = order[position // self.views], position % self.views
            yield SampleKey(index, self.epoch, lap * self.views + view)

    def _order(self, lap: int) -> list[int]:
        key = (self.seed, self.epoch, lap) if lap else (self.seed, self.epoch)
        return torch.randperm(self.count, generator=torch.Generator().manual_seed(seed_of("order", *key))).tolist()


class EvaluationSampler(Sampler[SampleKey]):
    """Every sample exactly once over all ranks, or so many, evenly spaced; shares differ by one where they must."""

    def __init__(self, count: int, rank: int, ranks: int, wanted: int | None = None) -> None:
        self.indices = evenly(count, wanted or count)[rank::ranks]

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[SampleKey]:
        return (SampleKey(index) for index in self.indices)


def evenly(count: int, wanted: int) -> list[int]:
    """Up to `wanted` indices below `count`, evenly spaced: those of the samples to draw."""
    return sorted({number * count // wanted for number in range(wanted)}) if count else []

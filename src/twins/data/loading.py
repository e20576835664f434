"""Batches: which sample comes when, and how samples become tensors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ..dist import gather
from ..errors import TwinsError
from .images import ImageSet, UnreadableImageError
from .randomness import keyed_randomness, seed_of
from .transforms import Transform


class SampleKey(NamedTuple):
    """Names one view of one sample; its randomness follows from this and the seed."""

    place: int
    epoch: int = 0
    repeat: int = 0


class Sample(NamedTuple):
    image: Tensor | None  # None: unreadable, and nothing taken in its place
    label: int
    place: int
    unreadable: tuple[str, ...]


@dataclass(frozen=True)
class Batch:
    """B pictures of one size with their labels (or, once mixed, a distribution over classes for each)."""

    images: Tensor  # (B, C, H, W)
    labels: Tensor  # (B,) or (B, classes)
    indices: tuple[int, ...]
    unreadable: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.indices)

    def to(self, device: torch.device) -> Batch:
        return replace(
            self, images=self.images.to(device, non_blocking=True), labels=self.labels.to(device, non_blocking=True)
        )

    def pin_memory(self) -> Batch:
        return replace(self, images=self.images.pin_memory(), labels=self.labels.pin_memory())


class TrainingSampler(Sampler[SampleKey]):
    """A rank's share of each epoch.

    All ranks shuffle alike and take turns, so that an update sees the same samples on any number of processes. Ranks
    get equally many, a whole number of global batches: the rest is left out (`drop_last`) or filled up with second
    views of the epoch's first samples, as a set smaller than one batch always is.
    """

    def __init__(
        self, count: int, global_batch: int, seed: int, rank: int, ranks: int, drop_last: bool, views: int = 1
    ) -> None:
        self.count, self.seed, self.rank, self.ranks, self.views = count, seed, rank, ranks, views
        whole = count // global_batch
        batches = whole if drop_last and whole else -(-count // global_batch)
        self.total = batches * global_batch
        self.epoch = 0
        self.skip = 0

    def set_epoch(self, epoch: int, skip: int = 0) -> None:
        """Shuffle for this epoch next, without the first `skip` samples of the rank."""
        self.epoch, self.skip = epoch, skip

    def __len__(self) -> int:
        return self.total // self.ranks - self.skip

    def __iter__(self) -> Iterator[SampleKey]:
        generator = torch.Generator().manual_seed(seed_of("order", self.seed, self.epoch))
        order = torch.randperm(self.count, generator=generator).tolist()
        for place in range(self.rank + self.skip * self.ranks, self.total, self.ranks):
            lap, place = divmod(place, self.count)
            index, view = order[place // self.views], place % self.views
            yield SampleKey(index, self.epoch, lap * self.views + view)


class EvaluationSampler(Sampler[SampleKey]):
    """Every sample exactly once over all ranks; shares differ by one where they must."""

    def __init__(self, count: int, rank: int, ranks: int) -> None:
        self.places = range(rank, count, ranks)

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[SampleKey]:
        return (SampleKey(index) for index in self.places)


class PicturesAsTensors(Dataset[Sample]):
    """Decode and transform. In training an unreadable picture's place is taken by the next readable one."""

    def __init__(self, images: ImageSet, transform: Transform, channels: int, seed: int, training: bool) -> None:
        self.images, self.transform, self.channels = images, transform, channels
        self.seed, self.training = seed, training

    def __len__(self) -> int:
        return len(self.images)

    def at(self, index: int) -> Sample:
        """One picture, in its first view."""
        return self[SampleKey(index)]

    def __getitem__(self, key: SampleKey) -> Sample:
        unreadable = []
        candidates = len(self.images) if self.training else 1
        for index in ((key.place + offset) % len(self.images) for offset in range(candidates)):
            try:
                picture = self.images.open(index, self.channels)
            except UnreadableImageError as error:
                unreadable.append(str(error))
                continue
            with keyed_randomness("sample", self.seed, key.epoch, key.place, key.repeat):
                return Sample(self.transform(picture), self.images.labels[index], index, tuple(unreadable))
        return Sample(None, self.images.labels[key.place], key.place, tuple(unreadable))


def collate(samples: list[Sample]) -> Batch:
    readable = [(image, label, index) for image, label, index, _ in samples if image is not None]
    return Batch(
        images=torch.stack([image for image, _, _ in readable]) if readable else torch.empty(0),
        labels=torch.tensor([label for _, label, _ in readable], dtype=torch.long),
        indices=tuple(index for _, _, index in readable),
        unreadable=tuple(name for sample in samples for name in sample.unreadable),
    )


class UnreadableImages:
    """What to do about unreadable pictures, and how many there were."""

    def __init__(self, policy: str) -> None:
        self.policy = policy
        self.names: set[str] = set()

    def note(self, batch: Batch) -> None:
        """Raises TwinsError under the policy `stop`, naming the picture."""
        if batch.unreadable and self.policy == "stop":
            raise TwinsError(f"unreadable picture {batch.unreadable[0]}; mend it, or pass --bad-images skip")
        self.names.update(batch.unreadable)

    def over_all_ranks(self) -> list[str]:
        """What any rank met, each once; every rank must ask."""
        return sorted({name for names in gather(self.names) for name in names})


def make_loader(
    dataset: PicturesAsTensors,
    sampler: Sampler[SampleKey],
    batch_size: int,
    workers: int | None,
    device: torch.device,
) -> DataLoader[Batch]:
    workers = _default_workers(dataset) if workers is None else workers
    return DataLoader(
        dataset,  # type: ignore[arg-type]  # indexed by SampleKey, which torch's stubs do not foresee
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=device.type == "cuda",
        persistent_workers=workers > 0,
    )


def _default_workers(dataset: PicturesAsTensors) -> int:
    """None for tiny pictures in memory, which cost less than handing them over; else this process's share of cores."""
    if not isinstance(dataset.images.pictures[0], Path):
        return 0
    return min((os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", 1)), 8)

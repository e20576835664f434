"""Ordered ledgers of what training sees, under random schedules of processes, workers and interruptions.

python benchmarks/ledgers.py [--schedules 200] [--seed 0]         # some minutes on two cores

A schedule cuts a short run into segments of updates, each with its own number of processes, workers and accumulated
batches, as a run does that is stopped and goes on elsewhere. The ranks of a segment are gone through one after the
other, each with the sampler, the loader and the worker processes that training has. A row of the ledger is (epoch,
step, slot of the global batch, image, view, seed, hash of what the transform drew and made). With one global batch
throughout, ledgers must be equal row by row. Where segments have another global batch, steps and slots are others; the
order of (image, view, seed, hash) within each epoch must be the same, and each of them come once.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from twins.data.loading import ImageDataset
from twins.data.randomness import seed_of
from twins.data.sampling import SampleKey, TrainingSampler
from twins.distributed.world import World
from twins.recipes import ClassifyRecipe
from twins.training.setup import training_batches

GLOBAL_BATCHES = (6, 8, 12, 16)
MOST_RANKS, MOST_WORKERS = 4, 2


class Row(NamedTuple):
    """One sample as training sees it."""

    epoch: int
    step: int
    slot: int  # within the global batch
    image: int
    view: int
    seed: int
    hash: str  # of what the transform drew and made

    @property
    def sample(self) -> tuple[int, int, int, int, str]:
        """Without where in its epoch it stands."""
        return self.epoch, self.image, self.view, self.seed, self.hash


class Numbers:
    """Images in memory that are no more than their index."""

    in_memory = True

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def name(self, index: int) -> str:
        return str(index)

    def read(self, index: int, channels: int) -> tuple[int, int]:
        return index, index


def draw(image: int, label: int) -> tuple[torch.Tensor, int]:
    """(5,): the image, the seed that the generators were given, and a draw of each of the three."""
    drawn = random.getrandbits(60), int(np.random.randint(2**60)), int(torch.randint(2**60, ()))
    return torch.tensor([image, torch.initial_seed(), *drawn]), label


@dataclass(frozen=True)
class Segment:
    """Updates that are made without a change of processes, workers or batch."""

    updates: int
    ranks: int
    workers: int
    accumulated: int
    batch: int  # of one rank, at once

    @property
    def global_batch(self) -> int:
        return self.ranks * self.accumulated * self.batch


@dataclass(frozen=True)
class Data:
    """What a run learns from."""

    count: int
    epochs: int
    seed: int
    repeated: bool  # three views of a third of the images an epoch

    def sampler_and_batches(self, segment: Segment, rank: int) -> tuple[TrainingSampler, Any]:
        recipe = ClassifyRecipe(
            batch_size=segment.batch, grad_accum_steps=segment.accumulated, workers=segment.workers, seed=self.seed,
            repeated_aug=self.repeated,
        )  # fmt: skip
        dataset = ImageDataset(Numbers(self.count), draw, channels=3, seed=self.seed, training=True)  # type: ignore[arg-type]
        return training_batches(recipe, World(rank, segment.ranks, torch.device("cpu")), dataset)


def ledger(data: Data, segments: Iterator[Segment]) -> list[Row]:
    """Every row of a run, in order; the last segments are cut where the run ends."""
    rows: list[Row] = []
    epoch, step, samples = 0, 0, 0
    for segment in segments:
        made = 0
        while epoch < data.epochs and made < segment.updates:
            sampler, _ = data.sampler_and_batches(segment, 0)
            left = sampler.batches_left(samples, step)
            updates = min(left, segment.updates - made)
            rows += rows_of(data, segment, epoch, step, samples, updates)
            made += updates
            step, samples = step + updates, samples + updates * segment.global_batch
            if updates == left:
                epoch, step, samples = epoch + 1, 0, 0
        if epoch == data.epochs:
            return rows
    raise ValueError("the segments end before the run does")


def rows_of(data: Data, segment: Segment, epoch: int, step: int, samples: int, updates: int) -> list[Row]:
    """The rows of some updates of one epoch, of all ranks, in the order of slots."""
    rows: list[Row] = []
    for rank in range(segment.ranks):
        sampler, batches = data.sampler_and_batches(segment, rank)
        sampler.set_epoch(epoch, samples, step)
        views = iter(list(sampler))
        loaded = iter(batches)
        for update in range(updates):
            for part in range(segment.accumulated):
                for within, values in enumerate(next(loaded).images.tolist()):
                    slot = (part * segment.batch + within) * segment.ranks + rank
                    rows.append(row(data, epoch, step + update, slot, next(views), values))
    return sorted(rows)


def row(data: Data, epoch: int, step: int, slot: int, key: SampleKey, values: list[int]) -> Row:
    """Raises AssertionError where the loader gave another sample than the sampler, or its generators another seed."""
    image, seed, *_ = values
    assert (image, epoch) == (key.image_index, key.epoch)
    assert seed == seed_of("sample", data.seed, epoch, image, key.repeat)
    digest = hashlib.blake2b(repr(values).encode(), digest_size=8).hexdigest()
    return Row(epoch, step, slot, image, key.repeat, seed, digest)


def random_segments(rng: random.Random, global_batches: tuple[int, ...]) -> Iterator[Segment]:
    """Segments without end, of these global batches."""
    while True:
        whole = rng.choice(global_batches)
        ranks = rng.choice([ranks for ranks in range(1, MOST_RANKS + 1) if whole % ranks == 0])
        accumulated = rng.choice([parts for parts in (1, 2, 3) if whole // ranks % parts == 0])
        yield Segment(
            updates=rng.randint(1, 9),
            ranks=ranks,
            workers=rng.randint(0, MOST_WORKERS),
            accumulated=accumulated,
            batch=whole // ranks // accumulated,
        )


def undisturbed(global_batch: int) -> Iterator[Segment]:
    """One process without workers, from beginning to end."""
    yield Segment(sys.maxsize, ranks=1, workers=0, accumulated=1, batch=global_batch)


def assert_same_ledger(seed: int) -> tuple[int, int]:
    """One random schedule with one global batch, and one with several, against a run that nothing disturbs.

    Returns the rows that were compared, of either. Raises AssertionError.
    """
    rng = random.Random(seed)
    data = Data(rng.randint(20, 50), epochs=2, seed=rng.randrange(2**31), repeated=rng.random() < 0.25)
    batch = rng.choice(GLOBAL_BATCHES)
    plain = ledger(data, undisturbed(batch))
    assert ledger(data, random_segments(rng, (batch,))) == plain
    several = ledger(data, random_segments(rng, GLOBAL_BATCHES))
    for epoch in range(data.epochs):
        theirs, ours = ([r.sample for r in rows if r.epoch == epoch][: data.count] for rows in (plain, several))
        assert ours == theirs
        assert len({sample[1:3] for sample in ours}) == data.count
    return len(plain), data.count * data.epochs


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare ledgers of random schedules.")
    parser.add_argument("--schedules", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of the first schedule; the others follow")
    args = parser.parse_args()
    started, rows, others = time.time(), 0, 0
    for done, seed in enumerate(range(args.seed, args.seed + args.schedules), start=1):
        same, reordered = assert_same_ledger(seed)
        rows, others = rows + same, others + reordered
        if done % 20 == 0:
            print(f"{done} schedules, {time.time() - started:.0f} s", flush=True)
    print(
        f"{args.schedules} schedules of one global batch: {rows} rows, all identical (epoch, step, slot, image, view, "
        f"seed, hash)\n{args.schedules} of several global batches: {others} samples, all in the same order, each once"
    )


if __name__ == "__main__":
    main()

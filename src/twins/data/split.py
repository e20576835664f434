"""A held-out part where the data brings none."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol, Self, TypeVar

from .randomness import seed_of


class Splittable(Protocol):
    """A set of pictures that parts can be taken of."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str: ...

    def subset(self, indices: Sequence[int]) -> Self: ...


Pictures = TypeVar("Pictures", bound=Splittable)


def stratified_split(
    images: Pictures, share: float, seed: int, labels: Sequence[int] | None = None
) -> tuple[Pictures, Pictures]:
    """Part `images` into (training, held out), each class in proportion where `labels` tell one a picture.

    A function of the seed, the pictures' names and nothing else: no folder is written to, and the same call parts
    the same way on every machine. The held-out part is ceil(share * n) pictures, each class has one in training.
    """
    by_class: dict[int, list[int]] = defaultdict(list)
    for index, label in enumerate(labels or [0] * len(images)):
        by_class[label].append(index)
    quota = _quotas({label: len(indices) for label, indices in by_class.items()}, share)
    held_out = set()
    for label, indices in by_class.items():
        shuffled = sorted(indices, key=lambda i: seed_of("split", seed, _stable_name(images, i)))
        held_out.update(shuffled[: quota[label]])
    every = range(len(images))
    return images.subset([i for i in every if i not in held_out]), images.subset([i for i in every if i in held_out])


def _quotas(counts: dict[int, int], share: float) -> dict[int, int]:
    """Whole numbers in proportion to the counts, that add up to ceil(share * total): largest remainders first."""
    total = math.ceil(share * sum(counts.values()))
    quota = {label: min(math.floor(share * n), n - 1) for label, n in counts.items()}
    by_remainder = sorted(counts, key=lambda label: (quota[label] - share * counts[label], label))
    for label in by_remainder[: max(total - sum(quota.values()), 0)]:
        quota[label] += quota[label] < counts[label] - 1
    return quota


def _stable_name(images: Splittable, index: int) -> str:
    """Class folder and file name: the same wherever the data folder lies."""
    return "/".join(images.name(index).replace("\\", "/").split("/")[-2:])

"""A validation part where the data brings none."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol, Self, TypeVar

from ..errors import TwinsError
from ..recipes import Recipe
from .randomness import seed_of


class Splittable(Protocol):
    """A set of images that parts can be taken of."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str: ...

    def subset(self, indices: Sequence[int]) -> Self: ...


Images = TypeVar("Images", bound=Splittable)


def stratified_split(
    images: Images, share: float, seed: int, labels: Sequence[int] | None = None
) -> tuple[Images, Images]:
    """Part `images` into (training, validation), each class in proportion where `labels` tell one an image.

    A function of the seed, the images' names and nothing else: no folder is written to, and the same call parts
    the same way on every machine. The validation part is ceil(share * n) images, each class has one in training.
    """
    by_class: dict[int, list[int]] = defaultdict(list)
    for index, label in enumerate(labels or [0] * len(images)):
        by_class[label].append(index)
    quota = _quotas({label: len(indices) for label, indices in by_class.items()}, share)
    val = set()
    for label, indices in by_class.items():
        shuffled = sorted(indices, key=lambda i: seed_of("split", seed, _stable_name(images, i)))
        val.update(shuffled[: quota[label]])
    every = range(len(images))
    return images.subset([i for i in every if i not in val]), images.subset([i for i in every if i in val])


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


def split_parts(
    train: Images | None,
    val: Images | None,
    recipe: Recipe,
    evaluation_only: bool,
    labels: Sequence[int] | None = None,
) -> tuple[Images | None, Images]:
    """Both parts, the validation one taken from the training images where the data has none."""
    if train is None and not evaluation_only:
        raise TwinsError(f"{recipe.data}: no training images; expected a folder train/ beside the validation ones")
    if val is not None:
        return train, val
    assert train is not None
    if evaluation_only and recipe.val_split == 0:
        return None, train
    train, val = stratified_split(train, recipe.val_split, recipe.seed, labels)
    if not len(val):
        raise TwinsError(
            f"{recipe.data}: no validation image can be split off from {len(train)} images; add val/ or raise "
            "--val-split"
        )
    return train, val

"""The part that is measured, and a validation part where the data brings none."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from ..errors import TwinsError
from ..recipes import Recipe, Split
from ..recipes.pipes import PIPE
from .annotation_errors import FEW, a_few
from .data_part import DataPart
from .file_names import same_name
from .folders import missing_part
from .randomness import seed_of
from .shards.naming import are_shards

Images = TypeVar("Images", bound=DataPart)


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


def _stable_name(images: DataPart, index: int) -> str:
    """Class folder and file name: the same wherever the data folder lies."""
    return "/".join(images.name(index).replace("\\", "/").split("/")[-2:])


def split_parts(
    train: Images | None,
    measured: Images | None,
    recipe: Recipe,
    evaluation_only: bool,
    labels: Sequence[int] | None = None,
) -> tuple[Images | None, Images]:
    """Training images, and those of the part to be measured; validation images come from the training images where
    the data names none.

    The recipe's `split` says which these are; without one they are drawn. Data that brings neither a part nor a
    `split` of its own is measured whole by a `val_split` of 0. Raises TwinsError where there are no such images.
    """
    part = recipe.part if evaluation_only else "val"
    if train is None and not evaluation_only:
        raise TwinsError(f"{recipe.data}: no training images; expected a folder train/ beside the validation ones")
    if measured is None and part == "test":
        raise missing_part(recipe.data, part, () if train is None else ("train",))
    if measured is None and train is not None:
        if evaluation_only and recipe.val_split == 0 and not _is_of_the_run(train, recipe):
            return None, train
        train, measured = _with_val_split_off(train, recipe, labels)
    else:
        measured = None if measured is None else measured.of_part("" if _is_one_file(recipe) else part)
    if part == "train":
        measured = None if train is None else train.of_part(part)
    if measured is None:
        raise missing_part(recipe.data, part, ("val",) if part == "train" else ())
    if train is None or evaluation_only:
        return train, measured
    return train, measured.warned(*_in_both_parts(train, measured))


def _with_val_split_off(train: Images, recipe: Recipe, labels: Sequence[int] | None) -> tuple[Images, Images]:
    names = _names_below(data_home(recipe.data), train)
    parts = _as_remembered(train, names, recipe) or _drawn(train, names, recipe, labels)
    if not len(parts[1]):
        raise TwinsError(
            f"{recipe.data}: no validation image can be split off from {len(train)} images; add val/ or raise "
            "--val-split"
        )
    return parts


def _drawn(images: Images, names: Sequence[str], recipe: Recipe, labels: Sequence[int] | None) -> tuple[Images, Images]:
    train, val = stratified_split(images, recipe.val_split, recipe.seed, labels)
    split = Split(tuple(_names_below(data_home(recipe.data), val)), len(images))
    gone = "its run's validation images are gone" if recipe.split else "no validation images named"
    line = (
        f"{recipe.data}: {gone}; {len(val)} of {len(images)} images are set aside for validation "
        f"(--val-split {recipe.val_split:g}, seed {recipe.seed})"
    )
    return train.of_part("train"), val.of_part("val", split).warned(line)


def _as_remembered(images: Images, names: Sequence[str], recipe: Recipe) -> tuple[Images, Images] | None:
    """Both parts as the recipe's `split` tells them; None without one, or where none of its images is there."""
    split = recipe.split
    known = set(split.val) if split else set()
    val = [index for index, name in enumerate(names) if name in known]
    if not split or not val:
        return None
    train = [index for index, name in enumerate(names) if name not in known]
    gone = len(known) - len(val)
    kept = split._replace(images=len(images) + gone)
    moved = ("holds the images of the run, of which those for validation are measured",) if not recipe.val_split else ()
    lines = tuple(f"{recipe.data}: {line}" for line in (*moved, *_changes(split, len(images), gone)))
    return images.subset(train).of_part("train"), images.subset(val).of_part("val", kept).warned(*lines)


def _changes(split: Split, images: int, gone: int) -> Iterator[str]:
    """What has become of the images since they were split."""
    if gone:
        yield f"{gone} of {len(split.val)} validation images are gone"
    added = 0 if split.images is None else images + gone - split.images
    if added > 0:
        yield f"{added} images were added since the validation images were set aside: they are for training"
    elif added < 0:
        yield f"{-added} training images are gone"


def _in_both_parts(train: DataPart, val: DataPart) -> tuple[str, ...]:
    """The warning of validation images that are training images as well, if there are any."""
    if train.in_memory:  # images of both are numbered from 0
        return ()
    trained_on = set(train.names())
    both = [name for name in val.names() if name in trained_on]
    return (f"images that are in training as well: {a_few(both[:FEW], len(both), '; ')}",) if both else ()


def _is_of_the_run(images: DataPart, recipe: Recipe) -> bool:
    """Whether other data than a run's own is the same after all, moved or named otherwise."""
    if recipe.split is None or recipe.split.images is None or len(images) < recipe.split.images:
        return False
    return set(recipe.split.val) <= set(_names_below(data_home(recipe.data), images))


def _is_one_file(recipe: Recipe) -> bool:
    """Whether the data is a file of annotations, which is measured whole, whatever part it is called."""
    return Path(recipe.data).suffix.lower() == ".json"


# By which names images are remembered


def data_home(data: str) -> Path:
    """The folder that the names of a data set's images count from, the same for the folder and for a file in it."""
    path = Path(data)
    if are_shards(data) and not path.is_dir():
        return path.parent
    if path.suffix.lower() not in (".json", ".yaml", ".yml"):
        return path
    return path.parent.parent if path.parent.name == "annotations" else path.parent


def _names_below(home: Path, images: DataPart) -> list[str]:
    return [name_below(home, name) for name in images.names()]


def name_below(home: Path, file: str) -> str:
    """A file's path from the data's folder, the same wherever that lies and however a system composes letters.

    What came through a pipe keeps its name, which begins with the command.
    """
    if file.startswith(PIPE):
        return same_name(file)
    beginning = f"{home}{os.sep}"
    below = file.removeprefix(beginning) if file.startswith(beginning) else os.path.relpath(file, home)
    return same_name(below.replace(os.sep, "/"))

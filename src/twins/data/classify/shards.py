"""Labelled images in tar shards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...class_names import numbered
from ...errors import TwinsError
from ...recipes import ClassifyRecipe
from ...recipes.pipes import PIPE
from ..folders import missing_part, unused_test_images
from ..packed import PackedStrings
from ..shards.description import Description, find_description
from ..shards.index import IndexedShard, index_shards
from ..shards.members import Shard, ShardMembers
from ..shards.naming import named_shards, parts_beside, shards_in
from ..shards.pipes import fetched
from .dataset import LabelledImages

_MOST_CLASSES = 100_000  # that may be without names


def read_shards(recipe: ClassifyRecipe, part: str = "val") -> tuple[LabelledImages | None, LabelledImages | None]:
    """Images for training of the shards that `recipe.data` names, and those of a `part`, "val" or "test".

    A folder has its parts by the names of folders or shards; shards named by a pattern are for training, and those of
    the part are `recipe.val_shards` or, in the same folder, by their names. Without such shards the second is None.
    Samples are in the order in which `twins data shard` found them, or as they come where another program wrote them.

    Raises TwinsError, naming shard and member, for shards that are missing, damaged, cut short or empty, for a sample
    without a label or with one beyond the classes, and for names of classes that differ.
    """
    found = _found(recipe, part)
    indexed = {name: index_shards(shards, Path(recipe.output)) for name, shards in found.parts.items()}
    for name, shards in indexed.items():
        if not sum(len(one.members) for one in shards):
            raise TwinsError(f"{found.parts[name][0].name}: no sample in it, nor in any other of {len(shards)} shards")
    classes = _classes(found.description, [one for shards in indexed.values() for one in shards])
    images = {name: _labelled(shards, classes, found.description) for name, shards in indexed.items()}
    train = images.get("train") or images.get("")
    if train is not None:
        train = train.of_part("train" if "train" in images else "").warned(*found.warnings)
    return train, images.get(part)


class _Found(NamedTuple):
    """Shards by the part that they hold; "" where nothing says which."""

    parts: dict[str, list[Shard]]
    description: Description | None
    warnings: tuple[str, ...]


def _found(recipe: ClassifyRecipe, part: str) -> _Found:
    root = Path(recipe.data)
    if root.is_dir():
        by_part = {name: [Shard(path, str(path)) for path in paths] for name, paths in shards_in(root).items()}
        if not by_part:
            raise TwinsError(
                f"{root}: no tar shards here; expected train-*.tar and val-*.tar, or train/*.tar and val/*.tar"
            )
    else:
        names = named_shards(recipe.data)
        beside = {} if recipe.data.startswith(PIPE) else parts_beside(names)
        by_part = {name: [Shard(path, str(path)) for path in paths] for name, paths in beside.items()}
        by_part["train" if recipe.val_shards or beside else ""] = fetched(names, recipe.shard_cache)
    if recipe.val_shards:
        by_part["val"] = fetched(named_shards(recipe.val_shards), recipe.shard_cache)
    if part == "test" and part not in by_part:
        raise missing_part(root, part, by_part)
    warnings = unused_test_images(root, part, by_part)
    wanted = {name: shards for name, shards in by_part.items() if name in ("", "train", part)}
    folders = dict.fromkeys(s.path.parent for shards in wanted.values() for s in shards if s.name == str(s.path))
    description = find_description([*folders, *([root] if root.is_dir() else [])])
    if description and root.is_dir():
        description.check_complete(shard.path for shards in by_part.values() for shard in shards)
    return _Found(wanted, description, warnings)


def _classes(description: Description | None, indexed: Sequence[IndexedShard]) -> tuple[str, ...]:
    """As a file beside the shards names them, or else as the samples do; numbers where nobody does."""
    label_names = {name for one in indexed for name in one.label_names}
    names = _names_of_labels(description, indexed)
    if description is not None:
        return description.classes
    if label_names:
        if any(one.labels.size and one.labels.max() >= 0 for one in indexed):
            raise TwinsError(
                f"{indexed[0].shard.name}: some labels are numbers and some are names of classes; write classes.txt "
                "beside the shards, a name a line in the order of the numbers"
            )
        return tuple(sorted(label_names))
    count, shard = max((1 + int(one.labels.max()), one.shard.name) for one in indexed if one.labels.size)
    if count > _MOST_CLASSES:
        raise TwinsError(
            f"{shard}: has the label {count - 1}, but nothing names so many classes; write classes.txt beside the "
            "shards, a name a line in the order of the numbers"
        )
    return tuple(names[label] for label in range(count)) if len(names) == count else numbered(count)


def _names_of_labels(description: Description | None, indexed: Sequence[IndexedShard]) -> dict[int, str]:
    """What samples call the classes. Raises TwinsError where two shards, or a shard and a file, do not agree."""
    known: dict[int, tuple[str, str]] = {}  # a name, and where it stands
    if description is not None:
        known = {label: (name, str(description.source)) for label, name in enumerate(description.classes)}
    for one in indexed:
        for label, name in one.class_names.items():
            said, where = known.setdefault(label, (name, one.shard.name))
            if said != name:
                raise TwinsError(f"{one.shard.name}: class {label} is {name!r} here, but {said!r} in {where}")
    return {label: name for label, (name, _) in known.items()}


def _labelled(
    indexed: Sequence[IndexedShard], classes: tuple[str, ...], description: Description | None
) -> LabelledImages:
    label_of = {name: label for label, name in enumerate(classes)}
    labels = np.concatenate([_labels(one, label_of, description) for one in indexed])
    members = ShardMembers(
        [one.shard for one in indexed],
        np.repeat(np.arange(len(indexed)), [len(one.members) for one in indexed]),
        PackedStrings.joined([one.members for one in indexed]),
        np.concatenate([one.offsets for one in indexed]),
        np.concatenate([one.sizes for one in indexed]),
    )
    images = LabelledImages(members, labels.tolist(), classes)
    numbers = np.concatenate([one.numbers for one in indexed])
    if (numbers < 0).any() or (np.diff(numbers) > 0).all():
        return images
    return images.subset(np.argsort(numbers, kind="stable").tolist())


def _labels(one: IndexedShard, label_of: dict[str, int], description: Description | None) -> np.ndarray:
    """A shard's labels as numbers of classes. Raises TwinsError, naming shard and member, for one that is none."""
    of_names = np.array([label_of.get(name, -1) for name in one.label_names], dtype=np.int64)
    labels = one.labels
    if len(of_names):
        labels = np.where(labels < 0, of_names[np.minimum(-1 - labels, len(of_names) - 1).clip(0)], labels)
    wrong = np.flatnonzero((labels < 0) | (labels >= len(label_of)))
    if wrong.size:
        index = int(wrong[0])
        label = one.labels[index]
        shown = repr(one.label_names[-1 - label]) if label < 0 else str(label)
        by = f" of {description.source}" if description else ""
        raise TwinsError(
            f"{one.shard.name}: {one.members[index]} has the label {shown}, which is none of the {len(label_of)} "
            f"classes{by}, numbered from 0"
        )
    return labels

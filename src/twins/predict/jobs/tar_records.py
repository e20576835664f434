"""Images in tar shards, with labels beside them or without."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from ...data.packed import PackedStrings
from ...data.shards.members import Shard, ShardMembers
from ...data.shards.naming import named_shards
from ...data.shards.tar_samples import images_of_tar
from ...errors import TwinsError
from ...progress import Progress
from ...recipes.pipes import PIPE
from .records import ImageRecord, check_not_lost, digest_of, names_of_files

_FEW = 4  # shards that are indexed before a bar could be read


class TarRecords:
    """N members of shards, called SHARD/MEMBER; some fifty bytes each."""

    left_out: Sequence[str] = ()

    def __init__(self, members: ShardMembers) -> None:
        self.members = members

    @classmethod
    def of(cls, patterns: Sequence[str]) -> TarRecords:
        """The images of all shards, by their headers.

        Raises TwinsError for a pattern that names no shard, a shard that is damaged or cut short, and shards without
        images.
        """
        paths = [path for pattern in patterns for path in _shards(pattern)]
        shards = [Shard(Path(path), name) for path, name in zip(paths, names_of_files(paths), strict=True)]
        names: list[PackedStrings] = []
        places: list[np.ndarray] = []
        for path in Progress("indexing shards", len(paths), shown=len(paths) > _FEW).over(paths):
            images = list(images_of_tar(Path(path), path))
            names.append(PackedStrings(image.member for image in images))
            places.append(np.array([image[1:] for image in images], dtype=np.int64).reshape(-1, 2))
        offsets, sizes = np.concatenate(places).T
        if not len(offsets):
            raise TwinsError(f"{paths[0]}: no images in {'it' if len(paths) == 1 else f'these {len(paths)} shards'}")
        of_shard = np.repeat(np.arange(len(paths), dtype=np.int32), [len(of_one) for of_one in places])
        return cls(ShardMembers(shards, of_shard, PackedStrings.joined(names), offsets, sizes))

    def __len__(self) -> int:
        return len(self.members)

    def between(self, start: int, stop: int) -> Iterator[ImageRecord]:
        for index in range(start, stop):
            member = self.members.item(index)
            yield ImageRecord(str(member), member)

    def check_there(self) -> None:
        for shard in self.members.shards:
            check_not_lost(shard.path)

    def digest(self) -> str:
        columns = (self.members.of_shard, self.members.offsets, self.members.sizes)
        places = zip(*(column.tolist() for column in columns), strict=True)
        of_each = (f"{place}{name}" for place, name in zip(places, self.members.names, strict=True))
        return digest_of(chain((shard.name for shard in self.members.shards), of_each))


def _shards(pattern: str) -> list[str]:
    if pattern.startswith(PIPE):
        raise TwinsError(f"{pattern}: pipes are for training; fetch the shards into a folder and name that")
    return named_shards(pattern)

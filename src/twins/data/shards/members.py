"""The images of many shards as a sequence, in little memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..image_source import ShardMember
from ..packed import Packed, PackedStrings


class Shard(NamedTuple):
    """A tar file."""

    path: Path
    name: str  # what messages call it: its path, or the pipe that it came through


class ShardMembers(Packed[ShardMember]):
    """N members, of which each knows by number the shard that it is in."""

    def __init__(
        self,
        shards: Sequence[Shard],
        of_shard: np.ndarray,
        names: PackedStrings,
        offsets: np.ndarray,
        sizes: np.ndarray,
    ) -> None:
        self.shards, self.of_shard, self.names, self.offsets, self.sizes = shards, of_shard, names, offsets, sizes

    def __len__(self) -> int:
        return len(self.names)

    def item(self, index: int) -> ShardMember:
        shard = self.shards[self.of_shard[index]]
        offset, size = int(self.offsets[index]), int(self.sizes[index])
        return ShardMember(shard.path, shard.name, self.names.item(index), offset, size)

    def take(self, indices: Sequence[int]) -> ShardMembers:
        of_shard, offsets, sizes = (column[list(indices)] for column in (self.of_shard, self.offsets, self.sizes))
        return ShardMembers(self.shards, of_shard, self.names.take(indices), offsets, sizes)

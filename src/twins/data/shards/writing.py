"""Writing samples into tar shards of a certain size, as WebDataset reads them."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from .index import IndexedShard
from .members import Shard
from .tar_samples import BLOCK, TarSample


class Sample(NamedTuple):
    """What goes into a shard under one key."""

    name: str  # of the image's file, below the data's folder, as "train/cat/01.jpg"
    image: bytes
    label: int
    class_name: str
    number: int  # among the images of its part


class Limits(NamedTuple):
    """When a shard is full."""

    size: int  # bytes
    images: int | None = None


def write_shards(folder: Path, part: str, samples: Iterable[Sample], limits: Limits) -> Iterator[IndexedShard]:
    """`train-000000.tar` and so on, each synced to the disk and indexed when it is full.

    A sample is KEY.jpg (the file's bytes as they are, with its suffix), KEY.cls (the label) and KEY.json (label, class,
    the file's name, its number). A shard has at least one sample, however large. Raises OSError.
    """
    keys = _Keys()
    shard: _OpenShard | None = None
    count = 0
    try:
        for sample in samples:
            members = _members(*keys.of(sample.name), sample)
            if shard is not None and shard.is_full(members, limits):
                yield shard.finished()
                shard = None
            if shard is None:
                shard = _OpenShard(folder / f"{part}-{count:06d}.tar")
                count += 1
            shard.add(members, sample)
        if shard is not None:
            yield shard.finished()
    finally:
        if shard is not None:
            shard.file.close()


class _Keys:
    """A key for each file: its path without the suffix, and without dots, at which WebDataset would end it."""

    def __init__(self) -> None:
        self.taken: set[str] = set()

    def of(self, name: str) -> tuple[str, str]:
        """(key, extension), another key for each."""
        folder, slash, file = name.lstrip("/").rpartition("/")
        stem, dot, extension = file.rpartition(".")
        key = folder + slash + ((stem if dot else file).replace(".", "_").lstrip("_") or "image")
        free, number = key, 1
        while free in self.taken:
            number += 1
            free = f"{key}-{number}"
        self.taken.add(free)
        return free, extension.lower()


Members = dict[str, bytes]  # by name


def _members(key: str, extension: str, sample: Sample) -> Members:
    described = {"label": sample.label, "class": sample.class_name, "file": sample.name, "number": sample.number}
    return {
        f"{key}.{extension}": sample.image,
        f"{key}.cls": str(sample.label).encode(),
        f"{key}.json": json.dumps(described).encode(),
    }


class _OpenShard:
    """A tar file that is being written; the same samples make the same bytes."""

    def __init__(self, path: Path) -> None:
        self.path, self.samples = path, list[TarSample]()
        self.file = path.open("xb")
        self.tar = tarfile.TarFile(fileobj=self.file, mode="w", format=tarfile.PAX_FORMAT)

    def is_full(self, members: Members, limits: Limits) -> bool:
        """Whether the next sample belongs into another shard."""
        size = self.tar.offset + sum(BLOCK + _padded(len(content)) for content in members.values())
        return size > limits.size or len(self.samples) == limits.images

    def add(self, members: Members, sample: Sample) -> None:
        offsets = []
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            self.tar.addfile(info, io.BytesIO(content))
            offsets.append(self.tar.offset - _padded(info.size))
        image = next(iter(members))
        where = TarSample(image, offsets[0], len(sample.image), sample.label, sample.class_name, sample.number)
        self.samples.append(where)

    def finished(self) -> IndexedShard:
        self.tar.close()
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        status = self.path.stat()
        shard = Shard(self.path, str(self.path))
        return IndexedShard.of_samples(shard, self.samples, status.st_size, status.st_mtime_ns)


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK

"""Where the samples of shards are: found once, kept in a file, and used again while the shards are as they were.

`twins data shard` writes `index.jsonl` beside the shards; of shards by others it is kept below the run's output. It has
a line for each shard, and is a convenience: a shard without a line, or with one that does not fit, is read again.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...atomic_write import atomic_file
from ...errors import TwinsError
from ...progress import Progress
from ..packed import PackedStrings
from .members import Shard
from .tar_samples import TarSample, samples_of_tar

BESIDE_SHARDS = "index.jsonl"
FORMAT = 1
_FEW = 4  # shards that are indexed before a bar could be read


class IndexedShard(NamedTuple):
    """A shard as it was when it was indexed, and its N samples column by column."""

    shard: Shard
    size: int  # bytes
    mtime_ns: int
    members: PackedStrings
    offsets: np.ndarray  # (N,) int64, as are the other arrays
    sizes: np.ndarray
    labels: np.ndarray  # a class's number; or -1, -2 ... for the first, second ... of `label_names`
    label_names: tuple[str, ...]  # where labels are no numbers
    class_names: dict[int, str]  # of those numbers that have a name beside them
    numbers: np.ndarray  # among the images of the part, before these were shuffled into shards; -1 where unknown

    @classmethod
    def of(cls, shard: Shard) -> IndexedShard:
        """Read a shard's headers and labels. Raises TwinsError as `samples_of_tar` does."""
        try:
            status = shard.path.stat()
        except OSError as error:
            raise TwinsError(f"{shard.name}: cannot be read ({error.strerror})") from error
        return cls.of_samples(shard, samples_of_tar(shard.path, shard.name), status.st_size, status.st_mtime_ns)

    @classmethod
    def of_samples(cls, shard: Shard, samples: Iterable[TarSample], size: int, mtime_ns: int) -> IndexedShard:
        """Raises TwinsError for a class with two names."""
        rows = list(samples)
        label_names: dict[str, int] = {}
        class_names: dict[int, str] = {}
        labels = []
        for row in rows:
            if isinstance(row.label, str):
                labels.append(-1 - label_names.setdefault(row.label, len(label_names)))
                continue
            labels.append(row.label)
            if row.class_name and class_names.setdefault(row.label, row.class_name) != row.class_name:
                raise TwinsError(
                    f"{shard.name}: {row.member} is of class {row.class_name!r}, but its label {row.label} is "
                    f"{class_names[row.label]!r} in the same shard"
                )
        return cls(
            shard,
            size,
            mtime_ns,
            PackedStrings(row.member for row in rows),
            _column(row.offset for row in rows),
            _column(row.size for row in rows),
            _column(labels),
            tuple(label_names),
            class_names,
            _column(-1 if row.number is None else row.number for row in rows),
        )

    def line(self, name: str) -> str:
        """As JSON, under a name by which the shard is found; `_from_line` reads it back."""
        arrays = {name: getattr(self, name).tolist() for name in _ARRAYS}
        plain = {"format": FORMAT, "shard": name, "size": self.size, "mtime_ns": self.mtime_ns}
        names = {"members": list(self.members), "label_names": self.label_names, "class_names": self.class_names}
        return json.dumps(plain | names | arrays)


_ARRAYS = ("offsets", "sizes", "labels", "numbers")


def _column(values: Iterable[int]) -> np.ndarray:
    return np.array(list(values), dtype=np.int64)


def index_shards(shards: Sequence[Shard], output: Path) -> list[IndexedShard]:
    """Each shard's index, in order: one that is kept if it fits, else a new one, which is then kept below `output`.

    Raises TwinsError for a shard that cannot be read.
    """
    known = _kept_indices(shards, output)
    missing = [shard for shard in shards if shard.path not in known]
    for shard in Progress("indexing shards", len(missing), shown=len(missing) > _FEW).over(missing):
        known[shard.path] = IndexedShard.of(shard)
    if missing:
        _keep(_kept_below(output, shards), {shard.name: known[shard.path] for shard in shards})
    return [known[shard.path] for shard in shards]


def write_index(file: Path, indexed: Mapping[str, IndexedShard]) -> None:
    """Replace a file by the lines of shards, by name. Raises TwinsError where it cannot be written."""
    with atomic_file(file) as beside, beside.open("w", encoding="ascii") as lines:
        lines.writelines(f"{one.line(name)}\n" for name, one in indexed.items())


def _keep(file: Path, indexed: Mapping[str, IndexedShard]) -> None:
    """As `write_index`, for convenience: where it cannot be written, that is said."""
    try:
        write_index(file, indexed)
    except TwinsError as error:
        print(f"{error}; without that file the next run indexes the shards again", file=sys.stderr)


def _kept_below(output: Path, shards: Sequence[Shard]) -> Path:
    names = "\n".join(shard.name for shard in shards)
    digest = hashlib.sha256(names.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return output / "listings" / f"shards-{digest}.jsonl"


def _kept_indices(shards: Sequence[Shard], output: Path) -> dict[Path, IndexedShard]:
    """Those of the shards that have not changed since."""
    files = {_kept_below(output, shards): {shard.name: shard for shard in shards}}
    for shard in shards:
        files.setdefault(shard.path.parent / BESIDE_SHARDS, {})[shard.path.name] = shard
    known: dict[Path, IndexedShard] = {}
    for file, named in files.items():
        for found in _read_index(file, named):
            known.setdefault(found.shard.path, found)
    return known


def _read_index(file: Path, named: dict[str, Shard]) -> Iterator[IndexedShard]:
    """The lines that fit these shards, by name; nothing where there is no such file."""
    if not file.is_file():
        return
    with file.open(encoding="ascii", errors="replace") as lines:
        for line in lines:
            if found := _from_line(line, named):
                yield found


def _from_line(line: str, named: dict[str, Shard]) -> IndexedShard | None:
    """None for what is no line of ours, of another shard, or of one that has changed."""
    try:
        values = json.loads(line)
        if not isinstance(values, dict) or values.get("format") != FORMAT or values.get("shard") not in named:
            return None
        shard = named[values["shard"]]
        status = shard.path.stat()
        if (status.st_size, status.st_mtime_ns) != (values["size"], values["mtime_ns"]):
            return None
        found = IndexedShard(
            shard,
            status.st_size,
            status.st_mtime_ns,
            PackedStrings(values["members"]),
            label_names=tuple(map(str, values["label_names"])),
            class_names={int(label): str(name) for label, name in values["class_names"].items()},
            **{name: np.array(values[name], dtype=np.int64) for name in _ARRAYS},
        )
        return found if _fits(found) else None
    except (ValueError, RecursionError, TypeError, AttributeError, KeyError, OverflowError, OSError):
        return None


def _fits(found: IndexedShard) -> bool:
    """Whether the columns have one length, and all members are within the shard."""
    arrays = [getattr(found, name) for name in _ARRAYS]
    if any(array.shape != (len(found.members),) for array in arrays):
        return False
    inside = (found.offsets >= 0) & (found.sizes >= 0) & (found.sizes <= found.size - found.offsets)
    return bool(inside.all() and (found.labels >= -len(found.label_names)).all())

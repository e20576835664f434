"""What a job is, by which it is known again: the network, its settings, the images, and how rows are written."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...checkpoints.files import INDEX, locate, shards_of
from ...errors import TwinsError

FORMAT = 1
FORMATS = ("parquet", "csv")
ROWS_PER_SHARD = 10_000


@dataclass(frozen=True)
class JobPlan:
    """N images whose rows are written in shards. Two plans are of one job where all but the names of files agree."""

    weights: str  # as they were named
    weights_sha256: str
    settings: Mapping[str, Any]  # of the predictor, as the flags of `twins predict`
    columns: Sequence[str]
    sources: Sequence[str]  # as they were named
    images: int
    images_sha256: str  # of their names
    file_format: str  # one of FORMATS
    rows_per_shard: int

    @property
    def shards(self) -> int:
        return -(-self.images // self.rows_per_shard)

    def rows_of(self, shard: int) -> range:
        """Which images a shard has the rows of."""
        start = shard * self.rows_per_shard
        return range(start, min(start + self.rows_per_shard, self.images))

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, source: Path) -> JobPlan:
        """Raises TwinsError for what `to_json` did not write."""
        try:
            values = json.loads(text)
            if values.pop("format") != FORMAT:
                raise ValueError("of another version of twins")
            return cls(**values)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise TwinsError(f"{source}: is not the plan of a job ({error}); choose another --out") from error

    def difference(self, other: JobPlan) -> str | None:
        """What keeps the other from being the same job, in words; None where nothing does."""
        if self.weights_sha256 != other.weights_sha256:
            return f"the weights were {other.weights}, of other content"
        for name in sorted(self.settings.keys() | other.settings.keys()):
            mine, others = _plain(self.settings.get(name)), _plain(other.settings.get(name))
            if mine != others:
                return f"--{name.replace('_', '-')} was {_short(others)}, not {_short(mine)}"
        if (self.images, self.images_sha256) != (other.images, other.images_sha256):
            before = f"{other.images} images of {' '.join(other.sources)[:200]}"
            return f"it is of {before}, of which some have gone, come or changed their names: now {self.images}"
        for name, flag in (("file_format", "--format"), ("rows_per_shard", "--rows-per-shard"), ("columns", "columns")):
            mine, others = _plain(getattr(self, name)), _plain(getattr(other, name))
            if mine != others:
                return f"{flag} was {_short(others)}, not {_short(mine)}"
        return None


def weights_digest(weights: str | os.PathLike[str]) -> str:
    """SHA-256 of a file of weights, or of all the parts that an index names. Raises TwinsError where one is missing."""
    file, key = locate(weights)
    digest = hashlib.sha256((key or "").encode())
    try:
        for part in (file, *(shards_of(file) if file.name.endswith(INDEX) else ())):
            with part.open("rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
    except OSError as error:
        raise TwinsError(f"{file} cannot be read: {error.strerror or error}") from error
    return digest.hexdigest()


def check_weights(weights: str | os.PathLike[str], sha256: str) -> None:
    """On another machine: raises TwinsError where the file there is not the one of this digest."""
    if weights_digest(weights) != sha256:
        raise TwinsError(f"{os.fspath(weights)}: other weights there; all machines need the same file")


def _plain(value: Any) -> Any:
    """As JSON gives it back."""
    return json.loads(json.dumps(value))


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:56]} ..."

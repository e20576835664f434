"""Which kind of source is meant, and its images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ...data.file_walk import WalkedFiles, walk_afresh, walk_files, walking_by
from ...data.shards.naming import SHARD_SUFFIX, are_shards
from ...errors import TwinsError
from .file_records import STDIN, FileRecords
from .parquet_records import ParquetRecords
from .records import BY_THEIR_NAMES, ImageRecords, TableColumns
from .tar_records import TarRecords

LIST_SUFFIX = ".txt"
PARQUET_SUFFIXES = (".parquet", ".pq")

FILES, LIST, TAR, PARQUET = "an image or a folder of images", "a list of images", "a tar shard", "a Parquet table"


def open_records(sources: Sequence[str], columns: TableColumns = BY_THEIR_NAMES) -> ImageRecords:
    """The images of sources, which are all of one kind.

    Parameters
    ----------
    sources:
        Folders and image files; or lists of files, `.txt`, one a line (`-` is the standard input); or tar shards,
        `shard-{000..099}.tar` among them; or Parquet files. A folder without images may hold tar shards or Parquet
        files, at any depth.
    columns:
        Of Parquet files.

    Raises TwinsError for sources that are not there, cannot be read, hold no images, or are of several kinds.
    """
    with walking_by(_each_folder_once()):
        kinds = {source: kind_of(source) for source in sources}
        first, kind = next(iter(kinds.items()))
        for source, other in kinds.items():
            if other != kind:
                raise TwinsError(f"{first} is {kind}, {source} is {other}: one job takes sources of one kind")
        if kind != PARQUET and columns != BY_THEIR_NAMES:
            raise TwinsError(f"{first} is {kind}: --image-column and --name-column are for Parquet tables")
        if kind == PARQUET:
            return ParquetRecords.of(_files_in(sources, PARQUET_SUFFIXES), columns)
        if kind == TAR:
            return TarRecords.of(_files_in(sources, (SHARD_SUFFIX,)))
        return FileRecords.listed(sources) if kind == LIST else FileRecords.found(sources)


def kind_of(source: str) -> str:
    """In words; what is neither a folder nor known by its suffix counts as an image."""
    if source == STDIN:
        return LIST
    if Path(source).is_dir():
        walked = walk_files(Path(source))
        if not walked.image_paths:
            for kind, suffixes in ((PARQUET, PARQUET_SUFFIXES), (TAR, (SHARD_SUFFIX,))):
                if _with_suffix(walked, suffixes):
                    return kind
        return FILES
    if are_shards(source):
        return TAR
    suffix = Path(source).suffix.lower()
    return PARQUET if suffix in PARQUET_SUFFIXES else LIST if suffix == LIST_SUFFIX else FILES


def _files_in(sources: Sequence[str], suffixes: tuple[str, ...]) -> list[str]:
    """The sources, but for a folder those of its files that have one of these suffixes, by name."""
    found: list[str] = []
    for source in sources:
        found += _with_suffix(walk_files(Path(source)), suffixes) if Path(source).is_dir() else [source]
    return found


def _with_suffix(walked: WalkedFiles, suffixes: tuple[str, ...]) -> list[str]:
    return [path for path in walked.paths if path.lower().endswith(suffixes)]


def _each_folder_once() -> Callable[[Path], WalkedFiles]:
    """To know what kind of source a folder is takes a walk through it, and so does its list of images."""
    walked: dict[Path, WalkedFiles] = {}

    def walk(folder: Path) -> WalkedFiles:
        if folder not in walked:
            walked[folder] = walk_afresh(folder)
        return walked[folder]

    return walk

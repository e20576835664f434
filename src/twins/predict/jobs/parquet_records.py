"""Images in the rows of Parquet files: a column of their bytes, and perhaps one of their names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from ...data.image_source import ImageBytes
from ...errors import TwinsError, nearest
from ...optional_dependencies import need
from .records import ImageRecord, TableColumns, digest_of, names_of_files

IMAGE_COLUMNS = ("image", "img", "jpg", "jpeg", "png", "webp", "bytes", "image_bytes")
NAME_COLUMNS = ("path", "file_name", "filename", "file", "__key__")
_AT_ONCE = 32  # rows in memory
_BUFFER = 1 << 20  # bytes that are read of a column at once, where a whole chunk may be a gigabyte


class ParquetFile(NamedTuple):
    """A file, and how many rows each of its groups has."""

    path: str
    name: str  # in the names of its rows
    size: int  # bytes
    groups: tuple[int, ...]  # rows

    @property
    def rows(self) -> int:
        return sum(self.groups)


class ParquetRecords:
    """N rows of Parquet files. `image` holds their bytes, alone or as `bytes` in a structure that has a `path` too.

    A row is called as the column `name` says, or as its `path` does; else by its file and number, "train.parquet/17".
    """

    left_out: Sequence[str] = ()

    def __init__(self, files: Sequence[ParquetFile], image: str, name: str | None) -> None:
        self.files, self.image, self.name = tuple(files), image, name
        self.starts = [0, *accumulate(file.rows for file in files)]

    @classmethod
    def of(cls, paths: Sequence[str], columns: TableColumns) -> ParquetRecords:
        """Raises TwinsError for a file that is no Parquet, for columns that are not there, and where no row is."""
        files, image, name = [], columns.image, columns.name
        for path, file_name in zip(paths, names_of_files(paths), strict=True):
            with _opened(path) as file:
                schema = file.schema_arrow
                image = _image_column(path, schema, image)
                name = _name_column(path, schema, name)
                groups = tuple(file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups))
            files.append(ParquetFile(path, file_name, Path(path).stat().st_size, groups))
        assert image is not None
        if not any(file.rows for file in files):
            raise TwinsError(f"{paths[0]}: no rows in {'it' if len(paths) == 1 else f'these {len(paths)} files'}")
        return cls(files, image, name)

    def __len__(self) -> int:
        return self.starts[-1]

    def between(self, start: int, stop: int) -> Iterator[ImageRecord]:
        for file, first in zip(self.files, self.starts, strict=False):
            if first < stop and start < first + file.rows:
                yield from self._of_file(file, max(start - first, 0), min(stop - first, file.rows))

    def check_there(self) -> None:
        """Images that are in memory are there; a file that is not stops `between`."""

    def digest(self) -> str:
        of_files = (f"{file.name} {file.size} {file.groups}" for file in self.files)
        return digest_of([self.image, self.name or "", *of_files])

    def _of_file(self, file: ParquetFile, start: int, stop: int) -> Iterator[ImageRecord]:
        """Rows of one file, of which those groups are read that have some of them."""
        starts = [0, *accumulate(file.groups)]
        groups = [i for i, rows in enumerate(file.groups) if starts[i] < stop and start < starts[i] + rows]
        number = starts[groups[0]]
        columns = [self.image, *([self.name] if self.name else [])]
        with _opened(file.path) as opened:
            for batch in opened.iter_batches(_AT_ONCE, row_groups=groups, columns=columns):
                for row in batch.to_pylist():
                    if start <= number < stop:
                        yield self._record(file, number, row)
                    number += 1
                if number >= stop:
                    return

    def _record(self, file: ParquetFile, number: int, row: dict[str, Any]) -> ImageRecord:
        held = row[self.image]
        content, path = (held.get("bytes"), held.get("path")) if isinstance(held, dict) else (held, None)
        name = row[self.name] if self.name else path
        called = f"{file.name}/{number}" if name in (None, "") else str(name)
        return ImageRecord(called, ImageBytes(called, content or b""))


@contextmanager
def _opened(path: str) -> Iterator[Any]:
    """pyarrow's reader of a file. Raises TwinsError, from within too, where that cannot read it."""
    parquet, arrow = need("pyarrow.parquet", extra="parquet"), need("pyarrow", extra="parquet")
    try:
        with parquet.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER) as file:
            yield file
    except FileNotFoundError as error:
        raise TwinsError(f"{path}: no such file") from error
    except (arrow.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0][:200]
        raise TwinsError(f"{path}: cannot be read as Parquet ({reason}); copy or write the file again") from error


def _image_column(path: str, schema: Any, wanted: str | None) -> str:
    """The column of images. Raises TwinsError where it is not there, or holds no bytes."""
    found = wanted or next((name for name in IMAGE_COLUMNS if name in schema.names and _is_of_images(schema, name)), "")
    there = ", ".join(schema.names[:20])
    if not found:
        raise TwinsError(f"{path}: no column of images among {there}; name the one of their bytes by --image-column")
    if found not in schema.names:
        raise TwinsError(f"{path}: no column {found!r}{nearest(found, schema.names)}; there is {there}")
    if not _is_of_images(schema, found):
        raise TwinsError(f"{path}: column {found!r} holds {schema.field(found).type}, not the bytes of images")
    return found


def _is_of_images(schema: Any, name: str) -> bool:
    """Whether a column holds bytes, or structures with bytes, as those of the Hugging Face hub."""
    kinds = need("pyarrow", extra="parquet").types
    kind = schema.field(name).type
    if kinds.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    return bool(kinds.is_binary(kind) or kinds.is_large_binary(kind))


def _name_column(path: str, schema: Any, wanted: str | None) -> str | None:
    """The column of names, if there is one. Raises TwinsError where one is wanted that is not there."""
    if wanted and wanted not in schema.names:
        raise TwinsError(f"{path}: no column {wanted!r}{nearest(wanted, schema.names)}; give another --name-column")
    return wanted or next((name for name in NAME_COLUMNS if name in schema.names), None)

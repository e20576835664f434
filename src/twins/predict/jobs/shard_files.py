"""Rows in Parquet and CSV files that take their names once they are whole."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from ...atomic_write import atomic_file
from ...optional_dependencies import need
from .columns import Column, Kind, Row

_GROUP = 1024  # rows of a Parquet file that are held until they are written together
_DIGITS = 6  # of numbers in CSV
_BOX_DIGITS = 3  # behind the point, of pixels there


class RowFile(Protocol):
    """A file that rows are added to."""

    def add(self, row: Row) -> None: ...


@contextmanager
def row_file(path: Path, columns: Sequence[Column], masks: Path) -> Iterator[RowFile]:
    """A file of these columns, Parquet or CSV by its suffix; it is there at the end of the `with` block, or not at all.

    CSV has lists as JSON, and beside it a PNG is a file of its own in the folder `masks`. Raises TwinsError where it
    cannot be written.
    """
    with atomic_file(path) as beside:
        if path.suffix == ".csv":
            with beside.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
                yield CsvRows(file, columns, masks)
        else:
            with ParquetRows(beside, columns) as rows:
                yield rows


class CsvRows:
    """Rows of a CSV file."""

    def __init__(self, file: IO[str], columns: Sequence[Column], masks: Path) -> None:
        self.columns, self.masks, self.added = columns, masks, 0
        self.writer = csv.writer(file)
        self.writer.writerow([column.name for column in columns])

    def add(self, row: Row) -> None:
        self.writer.writerow([self._cell(column.kind, row.get(column.name)) for column in self.columns])
        self.added += 1

    def _cell(self, kind: Kind, value: Any) -> Any:
        if value is None:
            return ""
        match kind:
            case Kind.TEXT | Kind.INTEGER:
                return value
            case Kind.NUMBER:
                return f"{value:.{_DIGITS}g}"
            case Kind.NUMBERS:
                return json.dumps([float(f"{number:.{_DIGITS}g}") for number in value])
            case Kind.BOXES:
                return json.dumps([[round(side, _BOX_DIGITS) for side in box] for box in value])
            case Kind.PNG:
                return self._beside(value)
        return json.dumps(value)

    def _beside(self, content: bytes) -> str:
        """By the number of its row: names that come from data could lead anywhere."""
        path = self.masks / f"{self.added:06d}.png"
        with atomic_file(path, fsync=False) as beside:
            beside.write_bytes(content)
        return path.relative_to(self.masks.parent.parent).as_posix()


class ParquetRows:
    """Rows of a Parquet file. Bytes of names that are not UTF-8, which it cannot hold, are escaped as in Python."""

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        self.arrow, self.columns = need("pyarrow", extra="parquet"), columns
        self.schema = self.arrow.schema([(column.name, _arrow_type(self.arrow, column)) for column in columns])
        self.writer = need("pyarrow.parquet", extra="parquet").ParquetWriter(path, self.schema, compression="zstd")
        self.rows: list[Row] = []

    def __enter__(self) -> ParquetRows:
        return self

    def __exit__(self, kind: type[BaseException] | None, *raised: object) -> None:
        try:
            if kind is None:
                self._write()
        finally:
            self.writer.close()

    def add(self, row: Row) -> None:
        self.rows.append(row)
        if len(self.rows) == _GROUP:
            self._write()

    def _write(self) -> None:
        if self.rows:
            arrays = [self._array(column, [row.get(column.name) for row in self.rows]) for column in self.columns]
            self.writer.write_batch(self.arrow.record_batch(arrays, schema=self.schema))
            self.rows = []

    def _array(self, column: Column, values: list[Any]) -> Any:
        if column.length:
            nothing = np.zeros(column.length, dtype=column.kind.value)
            numbers = np.concatenate([nothing if value is None else value for value in values])
            missing = self.arrow.array([value is None for value in values])
            return self.arrow.FixedSizeListArray.from_arrays(self.arrow.array(numbers), column.length, mask=missing)
        if column.kind is Kind.TEXT:
            values = [value if value is None else _as_utf8(value) for value in values]
        return self.arrow.array(values, _arrow_type(self.arrow, column))


def _as_utf8(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _arrow_type(arrow: Any, column: Column) -> Any:
    masks = arrow.struct([("size", arrow.list_(arrow.int32())), ("counts", arrow.string())])
    return {
        Kind.TEXT: arrow.string(),
        Kind.INTEGER: arrow.int32(),
        Kind.NUMBER: arrow.float32(),
        Kind.TEXTS: arrow.list_(arrow.string()),
        Kind.INTEGERS: arrow.list_(arrow.int32()),
        Kind.NUMBERS: arrow.list_(arrow.float32()),
        Kind.BOXES: arrow.list_(arrow.list_(arrow.float32(), 4)),
        Kind.MASKS: arrow.list_(masks),
        Kind.PNG: arrow.binary(),
        Kind.FLOAT32: arrow.list_(arrow.float32(), column.length),
        Kind.FLOAT16: arrow.list_(arrow.float16(), column.length),
    }[column.kind]

"""Tables and JSON lists that are complete after each row, so that whatever stops the program loses none."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from ..errors import TwinsError


class GrowingFile:
    """A file to whose end text is added, behind which `tail` always stands; it replaces what was there before.

    Names of files that are not UTF-8 are written byte for byte. Its methods raise TwinsError where nothing can be
    written.
    """

    def __init__(self, path: Path, head: str = "", tail: str = "") -> None:
        self.path, self.tail = path, tail
        try:
            self.file = path.open("wb", buffering=0)
        except OSError as error:
            raise self._cannot_be_written(error) from error
        self.end = 0
        self.add(head)

    def add(self, text: str) -> None:
        """In one piece, so that the file never ends in half a row."""
        added, tail = (part.encode("utf-8", "surrogateescape") for part in (text, self.tail))
        try:
            self.file.seek(self.end)
            self.file.write(added + tail)
        except OSError as error:
            raise self._cannot_be_written(error) from error
        self.end += len(added)

    def close(self) -> None:
        self.file.close()

    def _cannot_be_written(self, error: OSError) -> TwinsError:
        return TwinsError(f"{self.path}: cannot be written ({error.strerror or error}); is the disk full?")


class CsvTable(GrowingFile):
    """A CSV file with these columns."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        super().__init__(path, _csv([columns]))

    def add_rows(self, rows: Sequence[Sequence[Any]]) -> None:
        self.add(_csv(rows))


class JsonList(GrowingFile):
    """A JSON list; or an object with these `fields`, and the list under the name `of`."""

    def __init__(self, path: Path, fields: Mapping[str, Any] | None = None, of: str = "") -> None:
        before = "".join(f"{json.dumps(name)}: {json.dumps(value)}, " for name, value in (fields or {}).items())
        head, tail = (f"{{{before}{json.dumps(of)}: [", "\n]}") if of else ("[", "\n]")
        super().__init__(path, head, tail)
        self.empty = True

    def add_items(self, items: Iterable[Any]) -> None:
        for item in items:
            self.add(("\n" if self.empty else ",\n") + json.dumps(item))
            self.empty = False


def _csv(rows: Sequence[Sequence[Any]]) -> str:
    text = StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue()

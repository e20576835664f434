"""Which files a data set has, kept in a file, so that a million are listed once.

A list is used again while each of its folders has the modification time and the number of entries that it had: to add,
remove or rename a file changes the time of its folder. What a file holds is not kept, and may change.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..atomic_write import atomic_file
from ..errors import TwinsError
from .file_walk import FolderState, WalkedFiles, walk_afresh, walking_by

FORMAT = 1
MANY = 10_000  # files from which on a list is kept: fewer are listed in a tenth of a second
_RECENT = 2e9  # nanoseconds: a folder as young as that may change once more within one tick of its clock


@contextmanager
def kept_listings(data: str, output: Path) -> Iterator[None]:
    """Within it folders are walked once: their files are kept in a file below `output`, and taken from there again."""
    listings = _Listings(kept_at(data, output))
    with walking_by(listings.walk):
        yield
    listings.keep()


def kept_at(data: str, output: Path) -> Path:
    """The file for a data set: OUTPUT/listings/NAME-DIGEST.jsonl."""
    where = os.path.abspath(data)
    digest = hashlib.sha256(where.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return output / "listings" / f"{os.path.basename(where)[:100]}-{digest}.jsonl"


class _Listings:
    """The folders that were walked, now or by an earlier process."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.earlier: dict[str, str] | None = None  # a line of JSON for each folder; read when the first is asked for
        self.walked: dict[str, WalkedFiles] = {}
        self.changed = False

    def walk(self, folder: Path) -> WalkedFiles:
        name = os.path.abspath(folder)
        if name not in self.walked:
            self.walked[name] = self._as_kept(name, folder) or self._afresh(folder)
        return self.walked[name]

    def keep(self) -> None:
        """Write what was walked, if it is much and something of it is new; a disk that is full or read-only is said."""
        if not self.changed or sum(len(walked.paths) for walked in self.walked.values()) < MANY:
            return
        recent = time.time_ns() - _RECENT
        try:
            with atomic_file(self.file) as beside, beside.open("w", encoding="ascii") as lines:
                for name, walked in self.walked.items():
                    if all(state.entries >= 0 and state.mtime_ns < recent for state in walked.folders):
                        lines.write(_line(name, walked))
        except TwinsError as error:
            print(f"{error}; without that file the next run lists all files again", file=sys.stderr)

    def _afresh(self, folder: Path) -> WalkedFiles:
        self.changed = True
        return walk_afresh(folder)

    def _as_kept(self, name: str, folder: Path) -> WalkedFiles | None:
        if self.earlier is None:
            self.earlier = _read(self.file)
        line = self.earlier.pop(name, None)
        return None if line is None else _unchanged(line, folder)


def _line(name: str, walked: WalkedFiles) -> str:
    """A folder's files as JSON, by their paths below it."""
    start = len(os.path.join(os.fspath(walked.folder), ""))
    values = {
        "others": walked.others,
        "folders": [(state.path[start:], state.mtime_ns, state.entries) for state in walked.folders],
        "files": [path[start:] for path in walked.paths],
    }
    return f"{FORMAT} {json.dumps(name)}\t{json.dumps(values)}\n"


def _read(file: Path) -> dict[str, str]:
    """The lines of a file by folder; none where there is no such file."""
    found = {}
    try:
        with file.open(encoding="ascii", errors="replace") as lines:
            for line in lines:
                head, _, values = line.partition("\t")
                if head.startswith(f"{FORMAT} "):
                    found[json.loads(head[2:])] = values
    except FileNotFoundError:
        pass
    except (OSError, ValueError, TypeError) as error:
        print(f"{file}: not used, all files are listed again ({error})", file=sys.stderr)
        return {}
    return found


def _unchanged(line: str, folder: Path) -> WalkedFiles | None:
    """What was walked before; None where a folder has changed, or the line is none of ours."""
    try:
        values = json.loads(line)
        start = os.path.join(os.fspath(folder), "")
        folders = [FolderState((start + below).rstrip(os.sep), *rest) for below, *rest in values["folders"]]
        if not folders or not all(map(_is_as_it_was, folders)):
            return None
        paths = [start + below for below in values["files"]]
        return WalkedFiles(folder, paths, Counter(values["others"]), folders)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _is_as_it_was(state: FolderState) -> bool:
    try:
        return os.stat(state.path).st_mtime_ns == state.mtime_ns and len(os.listdir(state.path)) == state.entries
    except OSError:
        return False

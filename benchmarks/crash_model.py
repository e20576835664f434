"""What a file system may hold after a power cut, of what was done to it before.

POSIX promises little: bytes are on the disk once their file was synced, and names once their folder was. Of all that
was done since then, any part may be there. Of a file that was written to, each block of 4 KiB is as it was, as it is
now, as it was after any write in between, or zeros where it is new, and the file has any of the sizes that it had.
Names are there up to some moment, as in a journal, or any subset of what was done to them is, since not every file
system keeps the order. That a rename is there says nothing of the bytes of the file.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

BLOCK = 4096


class Create(NamedTuple):
    """A new empty file gets a number, and a name in a folder."""

    path: str
    file: int


class Write(NamedTuple):
    file: int
    offset: int
    data: bytes


class Truncate(NamedTuple):
    file: int
    size: int


class SyncFile(NamedTuple):
    file: int


class SyncFolder(NamedTuple):
    path: str


class Rename(NamedTuple):
    old: str
    new: str


class Link(NamedTuple):
    old: str
    new: str


class Unlink(NamedTuple):
    path: str


class Mark(NamedTuple):
    """The program got so far; nothing happens to a file."""

    name: str


Operation: TypeAlias = Create | Write | Truncate | SyncFile | SyncFolder | Rename | Link | Unlink | Mark


@dataclass
class _File:
    synced: bytearray = field(default_factory=bytearray)
    pending: list[Write | Truncate] = field(default_factory=list)

    def now(self) -> bytearray:
        """As the running system has it."""
        return self.after(len(self.pending))

    def after(self, changes: int) -> bytearray:
        """What it held after so many changes since it was synced."""
        content = bytearray(self.synced)
        for change in self.pending[:changes]:
            size = change.size if isinstance(change, Truncate) else change.offset
            content += bytes(max(size - len(content), 0))
            if isinstance(change, Truncate):
                del content[size:]
            else:
                content[size : size + len(change.data)] = change.data
        return content


class _NameChange(NamedTuple):
    """A name that stands for another file from now on, or for none."""

    folder: str
    gone: str | None
    path: str | None
    file: int


class Disk:
    """What is on a disk for certain, and what was done since."""

    def __init__(self) -> None:
        self.files: dict[int, _File] = {}
        self.names: dict[str, int] = {}  # as the running system has them
        self.synced_names: dict[str, int] = {}
        self.pending: list[_NameChange] = []

    @classmethod
    def after(cls, operations: Iterable[Operation]) -> Disk:
        """An empty one, after these."""
        disk = cls()
        for operation in operations:
            disk.do(operation)
        return disk

    def do(self, operation: Operation) -> None:
        """Raises KeyError for a file or a name that is not there."""
        match operation:
            case Create(path, file):
                self.files[file] = _File()
                self._rename(None, path, file)
            case Write(file, _, _) | Truncate(file, _):
                self.files[file].pending.append(operation)
            case SyncFile(file):
                self.files[file] = _File(self.files[file].now())
            case SyncFolder(path):
                for change in self.pending:
                    if change.folder == path:
                        _apply(change, self.synced_names)
                self.pending = [change for change in self.pending if change.folder != path]
            case Rename(old, new):
                self._rename(old, new, self.names[old])
            case Link(old, new):
                self._rename(None, new, self.names[old])
            case Unlink(path):
                self._rename(path, None, self.names[path])

    def _rename(self, gone: str | None, path: str | None, file: int) -> None:
        change = _NameChange((path or gone or "").rpartition("/")[0], gone, path, file)
        self.pending.append(change)
        _apply(change, self.names)

    def now(self) -> dict[str, bytes]:
        """The content of each file by its name, as the running system has them."""
        return {path: bytes(self.files[file].now()) for path, file in self.names.items()}

    def crash(self, rng: random.Random) -> dict[str, bytes]:
        """One of the states that it may be in once the power is back: the content of each file by its name."""
        names = dict(self.synced_names)
        for change in _surviving(self.pending, rng):
            _apply(change, names)
        return {path: _crashed(self.files[file], rng) for path, file in names.items()}


def _apply(change: _NameChange, names: dict[str, int]) -> None:
    if change.gone is not None and names.get(change.gone) == change.file:
        del names[change.gone]
    if change.path is not None:
        names[change.path] = change.file


def _surviving(pending: Sequence[_NameChange], rng: random.Random) -> list[_NameChange]:
    if rng.random() < 0.5:  # in order, up to some moment
        return list(pending[: rng.randint(0, len(pending))])
    return [change for change in pending if rng.random() < 0.5]


def _crashed(file: _File, rng: random.Random) -> bytes:
    if not file.pending:
        return bytes(file.synced)
    changes = len(file.pending)
    versions = [file.synced, file.after(rng.randint(0, changes)), file.now()]
    if rng.random() < 0.6:
        return bytes(rng.choice(versions))
    size = len(rng.choice(versions[1:]))
    share = rng.random()  # of the blocks that are there
    content = bytearray(size)  # zeros, where a block was given to the file and never written
    for start in range(0, size, BLOCK):
        version = versions[-1] if rng.random() < share else rng.choice(versions[:-1])
        block = version[start : min(start + BLOCK, size)]
        content[start : start + len(block)] = block
    return bytes(content)

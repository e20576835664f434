"""What a program did to the files of a folder, read from a trace of strace."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from crash_model import Create, Disk, Link, Mark, Operation, Rename, SyncFile, SyncFolder, Truncate, Unlink, Write
from traced import traced

MARKS = "/work-"  # what the marks of a trace begin with
_OF_MARKS = ("access", "faccessat", "faccessat2")  # which fail, for no such file is there
_CALLS = (
    *("open", "openat", "creat", "close", "dup", "dup2", "dup3", "read", "write", "pwrite64", "writev", "lseek"),
    *("ftruncate", "truncate", "fallocate", "fsync", "fdatasync", "sync_file_range", "rename", "renameat", "renameat2"),
    *("link", "linkat", "unlink", "unlinkat", "access", "faccessat", "faccessat2", "clone", "clone3", "fork", "vfork"),
    *("copy_file_range", "sendfile", "pwritev", "pwritev2", "sync", "syncfs"),
)
_OPTIONS = ("-xx", "-s", "8000000", "-e", f"trace={','.join('?' + call for call in _CALLS)}", "-e", "signal=none")
_LINE = re.compile(r"(\d+) +(?:<\.\.\. )?(\w+)(?: resumed>|\()(.*)")


@dataclass
class _Opened:
    """An open file, or with `file` None a folder; `offset` is where the next byte goes."""

    path: str
    file: int | None
    offset: int = 0
    appends: bool = False


def recorded(work: Callable[[], int], folder: Path) -> list[Operation]:
    """What `work`, called in a fork, did below `folder`, which is empty at first; raises RuntimeError where it fails,
    and where the operations do not lead to the files that are there.

    With the marks that begin with MARKS. Only what it does itself and in its threads counts, not what processes do that
    it starts.
    """
    result = traced(work, _OPTIONS, folder.parent)
    if result.status:
        raise RuntimeError(f"what was to be recorded ended with {result.status}")
    operations = operations_of(result.trace, folder)
    there = {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    if Disk.after(operations).now() != there:
        raise RuntimeError("what was recorded is not what lies in the folder")
    return operations


def operations_of(trace: str, folder: Path) -> list[Operation]:
    """What the process that a trace begins with did below a folder, as `recorded` returns it."""
    reader = _Reader(str(folder))
    for tid, call, arguments, returned in _calls(trace):
        reader.read(tid, call, arguments, returned)
    return reader.operations


def _calls(trace: str) -> list[tuple[str, str, list[str], str]]:
    """Thread, name, arguments and result of each call that went well, in the order in which they ended."""
    found, unfinished = [], {}
    for line in trace.splitlines():
        matched = _LINE.match(line)
        if matched is None:
            continue
        tid, call, rest = matched.groups()
        if rest.endswith("<unfinished ...>"):
            unfinished[tid] = rest.removesuffix("<unfinished ...>").rstrip()
            continue
        if "resumed>" in line[:60]:
            rest = unfinished.pop(tid, "") + rest
        arguments, _, returned = rest.rpartition(" = ")
        if re.match(r"-1 |\?", returned) and call not in _OF_MARKS:
            continue
        found.append((tid, call, _split(arguments.rstrip().removesuffix(")")), returned.split()[0]))
    return found


def _split(arguments: str) -> list[str]:
    """At the commas between arguments; strings are hexadecimal, so that there are none in them."""
    return re.split(r", ?(?![^{\[]*[}\]])", arguments)


class _Reader:
    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.operations: list[Operation] = []
        self.threads: set[str] = set()
        self.opened: dict[int, _Opened] = {}
        self.names: dict[str, int] = {}
        self.files = 0

    def read(self, tid: str, call: str, arguments: list[str], returned: str) -> None:
        """Raises RuntimeError for a call that changes files in a way that is not known here."""
        self.threads = self.threads or {tid}
        if call in ("clone", "clone3", "fork", "vfork"):
            if "CLONE_THREAD" in " ".join(arguments):
                self.threads.add(returned)
        elif tid in self.threads:
            getattr(self, f"_{call}", self._unknown(call))(arguments, int(returned, 0))

    def _unknown(self, call: str) -> Callable[[list[str], int], None]:
        def refuse(arguments: list[str], returned: int) -> None:
            if arguments[0].isdigit() and int(arguments[0]) in self.opened:
                raise RuntimeError(f"{call} changes files, and is not known here")

        return refuse

    def _openat(self, arguments: list[str], returned: int) -> None:
        path, flags = _text(arguments[1]), arguments[2]
        self.opened.pop(returned, None)
        if f"{path}/".startswith(self.folder + "/"):
            if Path(path).is_dir():
                self.opened[returned] = _Opened(path, None)
                return
            if path not in self.names:
                self.files += 1
                self.names[path] = self.files
                self.operations.append(Create(path, self.files))
            elif "O_TRUNC" in flags:
                self.operations.append(Truncate(self.names[path], 0))
            self.opened[returned] = _Opened(path, self.names[path], appends="O_APPEND" in flags)

    def _open(self, arguments: list[str], returned: int) -> None:
        self._openat(["AT_FDCWD", *arguments], returned)

    def _close(self, arguments: list[str], returned: int) -> None:
        self.opened.pop(int(arguments[0]), None)

    def _dup(self, arguments: list[str], returned: int) -> None:
        if int(arguments[0]) in self.opened:
            self.opened[returned] = self.opened[int(arguments[0])]

    _dup2 = _dup3 = _dup

    def _read(self, arguments: list[str], returned: int) -> None:
        opened = self.opened.get(int(arguments[0]))
        if opened is not None:
            opened.offset += returned

    def _lseek(self, arguments: list[str], returned: int) -> None:
        opened = self.opened.get(int(arguments[0]))
        if opened is not None:
            opened.offset = returned

    def _write(self, arguments: list[str], returned: int) -> None:
        opened = self.opened.get(int(arguments[0]))
        if opened is None or opened.file is None:
            return
        if opened.appends:
            opened.offset = self._size(opened.file)
        self.operations.append(Write(opened.file, opened.offset, _bytes(arguments[1])[:returned]))
        opened.offset += returned

    def _pwrite64(self, arguments: list[str], returned: int) -> None:
        opened = self.opened.get(int(arguments[0]))
        if opened is not None and opened.file is not None:
            self.operations.append(Write(opened.file, int(arguments[3]), _bytes(arguments[1])[:returned]))

    def _ftruncate(self, arguments: list[str], returned: int) -> None:
        opened = self.opened.get(int(arguments[0]))
        if opened is not None and opened.file is not None:
            self.operations.append(Truncate(opened.file, int(arguments[1])))

    def _truncate(self, arguments: list[str], returned: int) -> None:
        file = self.names.get(_text(arguments[0]))
        if file is not None:
            self.operations.append(Truncate(file, int(arguments[1])))

    def _fsync(self, arguments: list[str], returned: int) -> None:
        opened = self.opened.get(int(arguments[0]))
        if opened is not None:
            self.operations.append(SyncFolder(opened.path) if opened.file is None else SyncFile(opened.file))

    _fdatasync = _fsync

    def _rename(self, arguments: list[str], returned: int) -> None:
        old, new = (_text(argument) for argument in arguments[:2])
        if old in self.names and self.names.get(new) != self.names[old]:  # of one file, POSIX says, it does nothing
            self.names[new] = self.names.pop(old)
            self.operations.append(Rename(old, new))

    def _renameat(self, arguments: list[str], returned: int) -> None:
        self._rename([arguments[1], arguments[3]], returned)

    _renameat2 = _renameat

    def _link(self, arguments: list[str], returned: int) -> None:
        old, new = (_text(argument) for argument in arguments[:2])
        if old in self.names:
            self.names[new] = self.names[old]
            self.operations.append(Link(old, new))

    def _linkat(self, arguments: list[str], returned: int) -> None:
        self._link([arguments[1], arguments[3]], returned)

    def _unlink(self, arguments: list[str], returned: int) -> None:
        path = _text(arguments[0])
        if self.names.pop(path, None) is not None:
            self.operations.append(Unlink(path))

    def _unlinkat(self, arguments: list[str], returned: int) -> None:
        self._unlink(arguments[1:], returned)

    def _access(self, arguments: list[str], returned: int) -> None:
        name = _text(arguments[0])
        if name.startswith(MARKS):
            self.operations.append(Mark(name.removeprefix(MARKS)))

    def _faccessat(self, arguments: list[str], returned: int) -> None:
        self._access(arguments[1:], returned)

    _faccessat2 = _faccessat

    def _size(self, file: int) -> int:
        """Of a file, after all that was done so far."""
        size = 0
        for operation in self.operations:
            if isinstance(operation, Write) and operation.file == file:
                size = max(size, operation.offset + len(operation.data))
            elif isinstance(operation, Truncate) and operation.file == file:
                size = operation.size
        return size


def _bytes(argument: str) -> bytes:
    return bytes.fromhex(argument.strip('"').replace("\\x", ""))


def _text(argument: str) -> str:
    return _bytes(argument).decode()

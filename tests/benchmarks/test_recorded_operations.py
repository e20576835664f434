"""Operations on files, as strace writes them down."""

from __future__ import annotations

from pathlib import Path

from crash_model import Create, Disk, Mark, Rename, SyncFile, SyncFolder, Write
from recorded_operations import operations_of


def hexadecimal(text: str) -> str:
    return '"' + "".join(f"\\x{ord(character):02x}" for character in text) + '"'


def test_a_save_is_read_from_its_trace(tmp_path: Path) -> None:
    final, beside = (hexadecimal(f"{tmp_path}/{name}") for name in ("a.pth", ".a.pth"))
    trace = f"""\
7 access({hexadecimal("/work-begins")}, F_OK) = -1 ENOENT (No such file or directory)
7 clone3({{flags=CLONE_VM|CLONE_THREAD, child_tid=0x7f}}, 88) = 8
7 vfork() = 9
9 openat(AT_FDCWD, {hexadecimal(f"{tmp_path}/not-ours")}, O_WRONLY|O_CREAT, 0666) = 3
8 openat(AT_FDCWD, {beside}, O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC, 0666) = 3
8 write(3, {hexadecimal("abc")}, 3 <unfinished ...>
9 close(3) = 0
7 openat(AT_FDCWD, {hexadecimal("/etc/hosts")}, O_RDONLY) = 4
8 <... write resumed>) = 3
8 lseek(3, 1, SEEK_SET) = 1
8 write(3, {hexadecimal("xyz")}, 3) = 2
8 fsync(3) = 0
8 close(3) = 0
8 rename({beside}, {final}) = 0
8 unlink({beside}) = -1 ENOENT (No such file or directory)
8 openat(AT_FDCWD, {hexadecimal(str(tmp_path))}, O_RDONLY|O_CLOEXEC) = 3
8 fsync(3) = 0
8 +++ exited with 0 +++
"""
    operations = operations_of(trace, tmp_path)
    assert operations == [
        Mark("begins"),
        Create(f"{tmp_path}/.a.pth", 1),
        Write(1, 0, b"abc"),
        Write(1, 1, b"xy"),
        SyncFile(1),
        Rename(f"{tmp_path}/.a.pth", f"{tmp_path}/a.pth"),
        SyncFolder(str(tmp_path)),
    ]
    assert Disk.after(operations).now() == {f"{tmp_path}/a.pth": b"axy"}

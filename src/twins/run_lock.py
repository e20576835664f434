"""One run a folder: a lock that goes with the process that holds it, however that ends."""

from __future__ import annotations

import errno
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .atomic_write import writing
from .errors import TwinsError

LOCK = "run.lock"
_held: set[Path] = set()  # by this process, which the operating system would give them twice


@contextmanager
def only_run_in(folder: Path, flag: str = "--name") -> Iterator[str | None]:
    """Hold the folder inside a `with` block; it is made if need be.

    The lock is the operating system's, on a file that stays and says who holds it: whatever ends the process ends the
    lock, over NFS too. Worker processes do not inherit it. Yields what there is to say where there are no locks.

    Raises TwinsError, naming the holder, if another run writes there; `flag` is the one that names another folder.
    """
    path = (folder / LOCK).resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        opened = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise TwinsError(f"{folder}: cannot write there ({error.strerror}); choose another --output") from error
    try:
        if path in _held or (locked := _lock(opened)) is False:
            raise TwinsError(
                f"{folder}: another run writes there ({_holder(opened)}); wait for it, stop it, or give another {flag}"
            )
        _held.add(path)
        with writing(path):
            os.ftruncate(opened, 0)
            os.write(opened, f"process {os.getpid()} on {platform.node()}\n".encode())
        try:
            yield None if locked else f"{folder}: there are no locks here; nothing keeps a second run out"
        finally:
            _held.discard(path)
    finally:
        os.close(opened)


def _lock(opened: int) -> bool | None:
    """True: this process holds the lock from now on; False: another does; None: there are no locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    try:
        fcntl.lockf(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        return None
    return True


def _holder(opened: int) -> str:
    """What the lock's file says of its holder."""
    return os.read(opened, 200).decode(errors="replace").strip() or "it does not say which"

"""Shards that come through pipes: each program's output is kept in a folder of this machine, and read from there."""

from __future__ import annotations

import atexit
import hashlib
import os
import re
import select
import shlex
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import IO

from ...atomic_write import atomic_file
from ...errors import TwinsError
from ...progress import Progress
from ...recipes.pipes import PIPE
from .members import Shard
from .naming import SHARD_SUFFIX
from .tar_samples import check_whole

ATTEMPTS = 3
PAUSES = (1.0, 5.0)  # seconds before the second and the third attempt
SILENCE = 300.0  # seconds without a byte after which a program counts as hanging
SHARE_OF_DISK = 0.9  # of what is free at the start: shards may take so much
_AT_ONCE = 4  # programs
_CHUNK = 1 << 20
_SHELL_ONLY = frozenset("();<>|&")


def fetched(names: Sequence[str], cache: str | None) -> list[Shard]:
    """The shards of these paths and pipes; what comes through a pipe is on this machine's disk afterwards.

    It is kept in the folder `cache`, where a later run finds it, or in a temporary one that this process removes at its
    end. A program that fails, hangs or stops early is started again, up to ATTEMPTS times in all. Raises TwinsError,
    naming the command, where it does not succeed, needs a shell, or the disk has no room.
    """
    pipes = [name for name in names if name.startswith(PIPE)]
    if not pipes:
        return [Shard(Path(name), name) for name in names]
    folder = spool_folder(cache)
    _make(folder, temporary=cache is None)
    room = _Room(folder)
    missing = [pipe for pipe in pipes if not (folder / file_name(pipe)).exists()]
    if missing:
        kept = "kept there" if cache is not None else "removed at the end: --shard-cache FOLDER keeps them"
        print(f"fetching {len(missing)} of {len(pipes)} shards to {folder} ({room.most / 1e9:.1f} GB at most; {kept})")
    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        done = pool.map(partial(_fetch, folder=folder, room=room), missing)
        for _ in Progress("fetching shards", len(missing)).over(done):
            pass
    finally:
        room.closed.set()
        pool.shutdown(cancel_futures=True)
    return [Shard(folder / file_name(name) if name.startswith(PIPE) else Path(name), name) for name in names]


def spool_folder(cache: str | None) -> Path:
    """Where shards go: `cache`, or a temporary folder that all processes of a run on a machine find."""
    if cache is not None:
        return Path(cache)
    run = os.environ.get("MASTER_PORT") if int(os.environ.get("WORLD_SIZE", 1)) > 1 else None
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return Path(tempfile.gettempdir(), f"twins-shards-{user}-{run or f'p{os.getpid()}'}")


def file_name(pipe: str) -> str:
    """That of a pipe's shard, the same in each run: "pipe:curl -s https://x/train-01.tar" -> "train-01-3f2a.tar"."""
    mentioned = re.findall(rf"([\w.+-]+){re.escape(SHARD_SUFFIX)}\b", pipe)
    digest = hashlib.sha256(pipe.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return f"{mentioned[-1][-100:] if mentioned else 'shard'}-{digest}{SHARD_SUFFIX}"


def arguments(pipe: str) -> list[str]:
    """The program and its arguments. Raises TwinsError for a command that is empty or that only a shell understands."""
    command = pipe.removeprefix(PIPE)
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise TwinsError(f"{pipe}: does not parse ({error})") from error
    if not words:
        raise TwinsError(f"{pipe}: no command; write as in 'pipe:curl -sf https://host/train-{{000000..000099}}.tar'")
    plain = shlex.shlex(command, posix=True, punctuation_chars=True)
    plain.whitespace_split = True
    if any(_SHELL_ONLY.issuperset(word) for word in plain) or "$" in command or "`" in command:
        raise TwinsError(
            f"{pipe}: runs without a shell, to which alone | > < ; & ( ) $ and ` mean something: quote them, or put "
            "the line into a script and name that: pipe:sh fetch.sh NAME"
        )
    return words


class _Room:
    """The bytes that shards may take, counted over all threads."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.most = folder, int(SHARE_OF_DISK * shutil.disk_usage(folder).free)
        self.lock, self.taken = threading.Lock(), 0
        self.closed = threading.Event()  # nobody waits for shards any more

    def take(self, count: int) -> None:
        """Raises TwinsError where there is no room for so many bytes."""
        with self.lock:
            self.taken += count
        if self.taken > self.most:
            raise TwinsError(
                f"{self.folder}: the shards of the pipes need more than {self.most / 1e9:.1f} GB, nine tenths of what "
                "was free there; name a folder with more room by --shard-cache"
            )


class _PipeError(Exception):
    """A program that did not deliver a shard; str() says why."""


def _fetch(pipe: str, folder: Path, room: _Room) -> None:
    """One shard, tried again where its program fails. Raises TwinsError that names the command."""
    words = arguments(pipe)
    for attempt in range(ATTEMPTS):
        try:
            with atomic_file(folder / file_name(pipe)) as beside:
                _spool(words, beside, room)
                _check(beside)
            return
        except _PipeError as error:
            if attempt == ATTEMPTS - 1:
                raise TwinsError(f"{pipe}: {error}, tried {ATTEMPTS} times") from error
            if room.closed.wait(PAUSES[attempt]):
                return


def _spool(words: list[str], file: Path, room: _Room) -> None:
    """A program's output into a file.

    Raises TwinsError for one that cannot be started, _PipeError for one that fails or is silent for too long.
    """
    with tempfile.TemporaryFile() as complaints:
        try:
            program = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints)
        except OSError as error:
            raise TwinsError(f"{PIPE}{shlex.join(words)}: cannot be started ({error.strerror})") from error
        assert program.stdout is not None
        try:
            with file.open("wb") as written:
                _copy(program.stdout, written, room)
            status = program.wait()
        finally:
            program.kill()
            program.stdout.close()
            program.wait()
        if status:
            raise _PipeError(f"exit status {status}{_last_line(complaints)}")


def _copy(source: IO[bytes], target: IO[bytes], room: _Room) -> None:
    last = time.monotonic()
    while not room.closed.is_set():
        if not select.select([source], [], [], 1.0)[0]:
            if time.monotonic() - last > SILENCE:
                raise _PipeError(f"no byte for {SILENCE:g} s")
            continue
        chunk = os.read(source.fileno(), _CHUNK)
        if not chunk:
            return
        last = time.monotonic()
        room.take(len(chunk))
        target.write(chunk)
    raise _PipeError("given up, since another one failed")


def _check(file: Path) -> None:
    try:
        check_whole(file, "what it wrote")
    except TwinsError as error:
        raise _PipeError(str(error)) from error


def _last_line(complaints: IO[bytes]) -> str:
    """What a program said at its end, on one line."""
    complaints.seek(max(complaints.seek(0, os.SEEK_END) - 1000, 0))
    lines = complaints.read().decode("utf-8", "replace").split("\n")
    said = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f" ({said[:200]})" if said else ""


def _make(folder: Path, temporary: bool) -> None:
    """Raises TwinsError for a folder that cannot be made, or a temporary one that is somebody else's."""
    try:
        folder.mkdir(mode=0o700 if temporary else 0o777, parents=True, exist_ok=True)
        if temporary and hasattr(os, "getuid") and folder.lstat().st_uid != os.getuid():
            raise PermissionError(1, "it belongs to another user")
    except OSError as error:
        raise TwinsError(f"{folder}: cannot be used for shards ({error.strerror}); pass --shard-cache") from error
    if temporary and int(os.environ.get("LOCAL_RANK", 0)) == 0:
        atexit.register(shutil.rmtree, folder, ignore_errors=True)

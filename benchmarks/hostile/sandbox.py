"""Hostile inputs fed to the real code in child processes with bounded memory and time, each outcome noted.

The parent has imported everything; a child is a fork of it, works through inputs one by one, says over a pipe which it
begins and how it ended, and is replaced when it dies. Inputs follow from (seed, kind, number) alone.
"""

from __future__ import annotations

import json
import os
import random
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from twins.data.annotation_errors import AnnotationError
from twins.data.images import UnreadableImageError
from twins.errors import TwinsError
from twins.shown_text import shown

STATED = (TwinsError, UnreadableImageError, AnnotationError)  # the errors that the code under test states
CANARY = "executed-by-a-hostile-input"  # a payload's file, and part of all code of a payload
SECONDS = 20.0  # for one input
MEMORY = 1 << 31  # bytes beyond those of the parent: more cannot be had
NOTICED = 768 << 20  # bytes beyond those of the parent: more is a fault
LONGEST_MESSAGE = 2000  # characters of one clear line

Attempt = Callable[[], object]  # reads one hostile input


class Kind(NamedTuple):
    """Inputs of one kind: `prepare` makes valid ones in a folder, once; `attempt` makes a hostile one of them there."""

    name: str
    share: int  # of all inputs, beside the other kinds' shares
    prepare: Callable[[Path], Any]
    attempt: Callable[[random.Random, Any, Path], Attempt]
    memory: int = NOTICED
    in_one_piece: bool = False  # a library may ask for memory that it does not use: to be refused it is no fault


class Outcome(NamedTuple):
    """What became of one input."""

    kind: str
    number: int
    verdict: str  # "read", "refused", or what is wrong: "crash", "hang", "memory", "execution", "traceback", "message"
    detail: str = ""
    seconds: float = 0.0


class ExecutionError(BaseException):
    """Something that a hostile input had done; no handler of `Exception` takes it."""


def outcomes(kind: Kind, count: int, seed: int, prepared: Any, first: int = 0) -> Iterator[Outcome]:
    """Of each of `count` inputs, in order, from the number `first` on."""
    number = first
    while number < first + count:
        for outcome in _one_child(kind, range(number, first + count), seed, prepared):
            number = outcome.number + 1
            yield outcome


def _one_child(kind: Kind, numbers: range, seed: int, prepared: Any) -> Iterator[Outcome]:
    """Those until the child has done all, or died."""
    with tempfile.TemporaryDirectory(prefix="hostile-", ignore_cleanup_errors=True) as scratch:
        yield from _outcomes_of_child(kind, numbers, seed, prepared, scratch)


def _outcomes_of_child(kind: Kind, numbers: range, seed: int, prepared: Any, scratch: str) -> Iterator[Outcome]:
    reading, writing = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _work(kind, numbers, seed, prepared, writing, scratch)  # which does not return
    os.close(writing)
    under_way, started, received = numbers[0], time.monotonic(), b""
    try:
        while True:
            left = SECONDS - (time.monotonic() - started)
            ready, _, _ = select.select([reading], [], [], max(left, 0))
            if not ready:
                os.kill(child, signal.SIGKILL)
                yield Outcome(kind.name, under_way, "hang", f"more than {SECONDS:.0f} s", SECONDS)
                return
            chunk = os.read(reading, 1 << 16)
            if not chunk:
                break
            *lines, received = (received + chunk).split(b"\n")
            for line in lines:
                outcome = Outcome(kind.name, *json.loads(line))
                yield outcome
                under_way, started = outcome.number + 1, time.monotonic()
    finally:
        os.close(reading)
        _, status = os.waitpid(child, 0)
    if under_way < numbers.stop and status != 0:
        how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit status {status >> 8}"
        yield Outcome(kind.name, under_way, "crash", how)


def _work(kind: Kind, numbers: range, seed: int, prepared: Any, writing: int, scratch: str) -> None:
    status = 1
    try:
        silence = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(silence, stream)
        os.chdir(scratch)
        watch = Watch(Path(scratch))
        limit = _memory("VmData") + MEMORY
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        for number in numbers:
            outcome = _try(kind, number, seed, prepared, watch)
            os.write(writing, json.dumps([number, *outcome]).encode() + b"\n")
            if outcome[0] in ("memory", "execution"):
                break  # whatever is left of it in this process
        status = 0
    finally:
        os._exit(status)


def _try(kind: Kind, number: int, seed: int, prepared: Any, watch: Watch) -> tuple[str, str, float]:
    rng = random.Random(f"{seed} {kind.name} {number}")
    attempt = kind.attempt(rng, prepared, watch.folder)
    watch.begin()
    started = time.monotonic()
    try:
        verdict, detail = "read", ""
        attempt()
    except STATED as error:
        verdict, detail = _judged(error, kind)
    except ExecutionError as error:
        verdict, detail = "execution", str(error)
    except SystemExit as error:  # of --help and --version
        verdict, detail = ("read", "") if not error.code else ("traceback", f"SystemExit {error.code}")
    except BaseException as error:  # whatever it is, it is counted
        verdict, detail = "traceback", _where(error)
        if _lacked_memory(error):
            verdict = "memory"
    seconds = time.monotonic() - started
    if happened := watch.end():
        verdict, detail = "execution", happened
    elif (taken := watch.memory()) > kind.memory and verdict in ("read", "refused"):
        verdict, detail = "memory", f"{taken / 2**20:.0f} MiB"
    return verdict, detail[:500], round(seconds, 3)


def _judged(error: BaseException, kind: Kind) -> tuple[str, str]:
    """Whether a stated error is one clear line, and was not in truth a want of memory."""
    line = shown(error)
    if _lacked_memory(error) and not kind.in_one_piece:
        return "memory", line
    if len(line) > LONGEST_MESSAGE or not line.strip():
        return "message", f"{len(line)} characters: {line[:200]}"
    return "refused", line


def _lacked_memory(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _where(error: BaseException) -> str:
    """What was raised, and the innermost line of this package or of Python that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "twins" in frame.filename and "hostile" not in Path(frame.filename).parts[-2]]
    last = (ours or frames)[-1]
    return f"{type(error).__name__}: {str(error)[:200]} ({Path(last.filename).name}:{last.lineno})"


def _memory(field: str) -> int:
    """Bytes of this process, as Linux counts them."""
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(field))


class Watch:
    """What an input has done in this process that none may do."""

    _RUNS = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "subprocess.Popen")
    _TALKS = ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto", "urllib.Request")
    _WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
    _CHANGES = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.chmod", "os.link", "os.symlink", "os.truncate")

    def __init__(self, folder: Path) -> None:
        self.folder, self.active, self.happened, self._before = folder, False, "", 0
        self._allowed = (str(folder), "/dev/null", "/proc/self/")
        sys.addaudithook(self._hook)

    def begin(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
        self._before = _memory("VmRSS")
        self.happened, self.active = "", True

    def end(self) -> str:
        """What happened, if anything did."""
        self.active = False
        if not self.happened and any(Path(place, CANARY).exists() for place in (self.folder, "/tmp")):
            self.happened = f"a file {CANARY} was made"
        return self.happened

    def memory(self) -> int:
        """Bytes that the input took at its peak."""
        return _memory("VmHWM") - self._before

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.active:
            return
        if event in self._RUNS or event in self._TALKS or event == "pickle.find_class":
            self._stop(f"{event} {args!r}")
        elif event in self._CHANGES or (event == "open" and args[2] & self._WRITES):
            self._check_inside(event, args[0])
        elif event in ("exec", "compile") and CANARY in repr(getattr(args[0], "co_consts", args[0])):
            self._stop(f"{event} of a payload's code")
        elif event == "import" and CANARY in args[0]:
            self._stop("an import of a payload's module")

    def _check_inside(self, event: str, path: Any) -> None:
        name = os.path.abspath(os.fsdecode(path)) if isinstance(path, (str, bytes, os.PathLike)) else ""
        if name and not name.startswith(self._allowed):
            self._stop(f"{event} of {name}")

    def _stop(self, what: str) -> None:
        self.happened = self.happened or what[:300]
        raise ExecutionError(self.happened)

"""A checkpoint is saved over another one, and at each of its system calls the process is killed, or the call fails.

    python benchmarks/save_faults.py                          # every call, some minutes
    python benchmarks/save_faults.py --calls fsync rename     # those alone

strace injects the faults: SIGKILL on entering the call, or an error that the kernel has for it, ENOSPC for what takes
room and EIO for the rest. Calls that have no error to return, as futex and brk, are killed only; of those that take
room each fails once alone, and once together with all that follow, as on a disk that is full and stays so.

Afterwards every file has to be the old or the new one, bit for bit; a failure has to be a TwinsError, one line, and
leaves no temporary file. Merges its rows into benchmarks/save-faults-DATE.json and prints them as a table.
"""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # a process with threads must not be forked

import argparse
import re
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from dated_results import merge
from numbered_checkpoints import number_of, numbered, save
from traced import BEGINS, ENDS, need_strace, traced
from twins.errors import TwinsError
from twins.progress import clock

TAKES_ROOM = ("openat", "write", "pwrite64", "writev", "ftruncate", "fallocate", "mkdir", "link", "linkat", "rename",
              "renameat", "renameat2", "fsync", "fdatasync", "copy_file_range", "sendfile")  # fmt: skip
OTHERS_FAIL = ("read", "pread64", "close", "lseek", "fstat", "newfstatat", "statx", "unlink", "unlinkat", "dup",
               "getdents64", "fcntl", "ioctl", "fchmod", "utimensat", "flock")  # fmt: skip
NAMES = {"checkpoint.pth": 1, "checkpoint.1.pth": 0, "checkpoint_best.pth": 0}  # and which checkpoint each holds before
SAVED = {"checkpoint.pth": 2, "checkpoint.1.pth": 1, "checkpoint_best.pth": 2}  # and after
FAILED, SEVERAL_LINES = 2, 3  # exit statuses: of a TwinsError, and of one that should be shorter


class Fault(NamedTuple):
    """What happens at the `index`-th call of a name, counted from 1."""

    call: str
    index: int
    kind: str  # killed, ENOSPC, EIO, "ENOSPC from here on"

    @property
    def injection(self) -> str:
        """As `strace -e inject=` takes it."""
        if self.kind == "killed":
            return f"{self.call}:signal=KILL:when={self.index}"
        error, _, on = self.kind.partition(" ")
        return f"{self.call}:error={error}:when={self.index}{'+' if on else ''}"


def save_as_a_run_does(folder: Path) -> int:
    """Save over the old ones, keeping the last, as the best one too; the exit status says how it went."""
    try:
        save(numbered(2), folder, best=True)
    except TwinsError as error:
        return SEVERAL_LINES if "\n" in str(error) else FAILED
    return 0


def calls_of_a_save(folder: Path) -> tuple[Counter[str], Counter[str]]:
    """How many calls of each name there are before the save, since strace is there, and in it."""
    trace = traced(partial(save_as_a_run_does, folder), [], folder.parent).trace
    lines = trace.splitlines()
    begins, ends = (next(i for i, line in enumerate(lines) if f'"{mark}"' in line) for mark in (BEGINS, ENDS))
    before, during = (map(_name, some) for some in (lines[: begins + 1], lines[begins + 1 : ends]))
    return Counter(filter(None, before)), Counter(filter(None, during))


def _name(line: str) -> str | None:
    """Of the call that a line of a trace begins with."""
    found = re.match(r"(?:\d+ +)?(\w+)\(", line)
    return found and found[1]


def faults(before: Counter[str], calls: Counter[str]) -> Iterator[Fault]:
    """Each call killed, and failing where it can."""
    for call, count in calls.items():
        kinds = ["killed"]
        if call in TAKES_ROOM:
            kinds += ["ENOSPC", "ENOSPC from here on"]
        if call in OTHERS_FAIL or call in ("fsync", "fdatasync", "write"):
            kinds.append("EIO")
        for index in range(before[call] + 1, before[call] + count + 1):
            yield from (Fault(call, index, kind) for kind in kinds)


def outcome(fault: Fault, old: Path, place: Path) -> str:
    """What a fault did, in a word or, where it should not be, in a sentence."""
    shutil.rmtree(place, ignore_errors=True)
    folder = place / "run"
    shutil.copytree(old, folder)
    result = traced(partial(save_as_a_run_does, folder), ["-e", f"inject={fault.injection}"], place)
    if "(INJECTED)" not in result.trace and result.status != -signal.SIGKILL:
        return "not reached"
    left = {name: number_of(folder / name) for name in NAMES}
    others = sorted({path.name for path in folder.iterdir()} - set(NAMES))
    wrong = [f"{name} is {left[name]}" for name in NAMES if left[name] not in (NAMES[name], SAVED[name])]
    if wrong:
        return f"wrong: {', '.join(wrong)}"
    if fault.kind == "killed":
        return "killed: new" if left["checkpoint.pth"] == SAVED["checkpoint.pth"] else "killed: old"
    if result.status not in (0, FAILED):
        return f"wrong: ended with {result.status}"
    if result.status == 0 and left != SAVED:
        return f"wrong: said to be saved, but {left}"
    if others and not fault.call.startswith("unlink"):
        return f"wrong: left {', '.join(others)}"
    if result.status == FAILED:
        return "refused: old" if left == NAMES else "refused: " + ", ".join(f"{n} {left[n]}" for n in NAMES)
    return "saved nevertheless"


def main() -> None:
    parser = argparse.ArgumentParser(description="Each system call of a save killed once and failed once.")
    parser.add_argument("--calls", nargs="+", metavar="NAME", help="system calls to try (default: all)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks"), metavar="FOLDER", help="of the results")
    args = parser.parse_args()
    need_strace()
    with tempfile.TemporaryDirectory() as temporary:
        old = Path(temporary, "old")
        old.mkdir()
        for number in (0, 1):
            save(numbered(number), old, best=number == 0)
        assert {name: number_of(old / name) for name in NAMES} == NAMES
        shutil.copytree(old, Path(temporary, "once", "run"))
        before, calls = calls_of_a_save(Path(temporary, "once", "run"))
        wanted = [fault for fault in faults(before, calls) if args.calls is None or fault.call in args.calls]
        print(f"{calls.total()} calls of {len(calls)} names; {len(wanted)} faults", flush=True)
        results: dict[tuple[str, str], Counter[str]] = {}
        wrong, started, said = 0, time.monotonic(), time.monotonic()
        for done, fault in enumerate(wanted):
            result = outcome(fault, old, Path(temporary, "place"))
            results.setdefault((fault.call, fault.kind), Counter())[result] += 1
            if result.startswith("wrong"):
                wrong += 1
                print(f"{fault.call} {fault.index - before[fault.call]} {fault.kind}: {result}", flush=True)
            if time.monotonic() - said > 15:
                said = time.monotonic()
                left = (said - started) / (done + 1) * (len(wanted) - done - 1)
                print(f"{done + 1} of {len(wanted)}, {clock(left)} left", flush=True)
    rows: list[dict[str, Any]] = [
        {"call": call, "fault": kind, "tried": outcomes.total(), "outcomes": dict(outcomes)}
        for (call, kind), outcomes in results.items()
    ]
    merge(args.out, "save-faults", rows, ("call", "fault"))
    print("| call | fault | tried | outcomes |\n|---|---|--:|---|")
    for row in rows:
        outcomes = ", ".join(f"{result} ({count})" for result, count in row["outcomes"].items())
        print(f"| {row['call']} | {row['fault']} | {row['tried']} | {outcomes} |")
    tried = Counter({kind: 0 for _, kind in results})
    for (_, kind), outcomes in results.items():
        tried[kind] += outcomes.total() - outcomes["not reached"]
    print(f"{', '.join(f'{count} {kind}' for kind, count in tried.items())}; {wrong} wrong")
    if wrong:
        raise SystemExit(1)


if __name__ == "__main__":
    main()

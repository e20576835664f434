"""What a power cut may leave of checkpoints, and of whole runs, from what they did to their files.

    python benchmarks/crash_states.py                              # 10,000 states of saves, 200 of a run
    python benchmarks/crash_states.py --states 100000 --seed 3 --runs 0

Several checkpoints are saved one over the other, the last one kept beside the newest, and some as the best one too;
strace writes down every byte that is written, and each sync, rename and link. `crash_model` then makes states that a
file system may be left in: at a random moment of all that, with any part of what had not been synced by then. In each
of them every file has to be a whole checkpoint, bit for bit, and the newest one has to be the last that was saved, or
the one that was just being saved.

A tiny run is recorded in the same way, and started again in some of its states: it has to end with the bits and the
log lines of a run without a power cut. Merges its rows into benchmarks/crash-states-DATE.json.
"""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # a process with threads must not be forked

import argparse
import hashlib
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from crash_model import Disk, Mark, Operation
from dated_results import merge
from killable_runs import adopt_orphans, fork
from numbered_checkpoints import number_of, numbered, save
from recorded_operations import MARKS, recorded
from run_contents import contents, differences
from started_runs import BadEndError, Case, check_end, command, finished_folder, preload, print_into, start
from tiny_runs import RUNS, leave_plots_out, write_data, write_recipe
from traced import mark, need_strace
from twins import cli
from twins.progress import clock

SAVES = 6
KEPT = ("checkpoint.pth", "checkpoint.1.pth")  # the newest first
BEST = "checkpoint_best.pth"


def save_several(folder: Path) -> int:
    """One checkpoint over the other, every second one as the best too, with a mark once each is saved."""
    for number in range(SAVES):
        save(numbered(number), folder, best=is_best(number))
        mark(f"{MARKS}saved {number}")
    return 0


def is_best(number: int) -> bool:
    return number % 2 == 0


def saved_by_then(operations: Sequence[Operation]) -> int:
    """How many checkpoints were saved."""
    return sum(isinstance(operation, Mark) and operation.name.startswith("saved") for operation in operations)


def verdict(state: dict[str, bytes], saved: int, folder: Path, reads: Callable[[bytes], int | str]) -> str:
    """What can be read in a state after so many saves: "old", "new" or "none yet"; or what is wrong with it."""
    found = {name: reads(state[f"{folder}/{name}"]) for name in (*KEPT, BEST) if f"{folder}/{name}" in state}
    for name, number in found.items():
        if isinstance(number, str):
            return f"wrong: {name} is {number}"
    best_before = max((number for number in range(saved) if is_best(number)), default=None)
    if found.get(BEST) not in (best_before, saved if is_best(saved) else best_before):
        return f"wrong: the best is {found.get(BEST)} after {saved} saves"
    newest = next((found[name] for name in KEPT if name in found), None)
    if newest == saved:
        return "new"
    if newest == (saved - 1 if saved else None):
        return "old" if saved else "none yet"
    return f"wrong: the newest is {newest} after {saved} saves"


def reader(place: Path) -> Callable[[bytes], int | str]:
    """`number_of` for bytes, which remembers what it has seen: most states share their files with others."""
    known: dict[bytes, int | str] = {}

    def reads(content: bytes) -> int | str:
        key = hashlib.sha256(content).digest()
        if key not in known:
            place.write_bytes(content)
            known[key] = number_of(place)
        return known[key]

    return reads


def states_of_saves(states: int, seed: int, folder: Path) -> dict[str, Any]:
    """A row of the results."""
    for number in range(SAVES):
        numbered(number)
    run = folder / "run"
    run.mkdir()
    operations = recorded(partial(save_several, run), run)
    return {"of": "saves", "seed": seed, **judged(operations, run, states, seed, reader(folder / "read.pth"))}


def judged(
    operations: Sequence[Operation], folder: Path, states: int, seed: int, reads: Callable[[bytes], int | str]
) -> dict[str, Any]:
    """How many states had which verdict."""
    rng = random.Random(seed)
    verdicts: Counter[str] = Counter()
    moments = Counter(rng.randint(0, len(operations)) for _ in range(states))
    disk = Disk()
    for moment in range(len(operations) + 1):
        if moment:
            disk.do(operations[moment - 1])
        saved = saved_by_then(operations[:moment])
        for _ in range(moments[moment]):
            verdicts[verdict(disk.crash(rng), saved, folder, reads)] += 1
    names = Counter(type(operation).__name__ for operation in operations)
    return {"operations": dict(names), "states": states, "verdicts": dict(verdicts.most_common())}


def states_of_a_run(states: int, seed: int, folder: Path) -> dict[str, Any]:
    """A row of the results: runs that go on after a power cut, against the one that was recorded."""
    adopt_orphans()
    leave_plots_out()
    preload()
    case = Case(next(run for run in RUNS if run.name == "plain"), processes=1)
    data, output = write_data(folder / "data"), folder / "recorded"
    output.mkdir()
    arguments = command(write_recipe(case.run, case.processes, data, output))

    def train() -> int:
        print_into(output)
        return cli.main(arguments)

    operations = recorded(train, output)
    expected = contents(finished_folder(output))
    rng = random.Random(seed)
    verdicts: Counter[str] = Counter()
    started = said = time.monotonic()
    for number in range(states):
        crashed = Disk.after(operations[: rng.randint(0, len(operations))]).crash(rng)
        place = folder / f"state{number}"
        for path, content in crashed.items():
            file = place / Path(path).relative_to(output)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        verdicts[went_on(case, data, place, expected)] += 1
        if time.monotonic() - said > 15:
            said = time.monotonic()
            left = (said - started) / (number + 1) * (states - number - 1)
            print(f"{number + 1} of {states} states of a run, {clock(left)} left", flush=True)
    names = Counter(type(operation).__name__ for operation in operations)
    return {"of": "run", "seed": seed, "operations": dict(names), "states": states, "verdicts": dict(verdicts)}


def went_on(case: Case, data: Path, place: Path, expected: dict[str, str]) -> str:
    """Start a run again in the state that it was left in, unless it was at its end: is it what it should be then?"""
    was_finished = bool(list(place.glob("*/*/summary.json")))
    try:
        if not was_finished:
            ranks = start(case, data, place)
            check_end(ranks, ranks.wait(until=120), place)
        different = differences(contents(finished_folder(place)), expected)
    except (BadEndError, OSError, ValueError) as error:
        return f"wrong: {str(error).replace(str(place), '')}"
    if different:
        return f"wrong: {'was finished, but ' if was_finished else ''}differs in {', '.join(different)}"
    return "was finished, the same bits" if was_finished else "went on, the same bits"


def in_a_fork(work: Callable[[], dict[str, Any]], result: Path) -> dict[str, Any]:
    """What `work` returns, called in a process of its own, whose children are its own."""

    def work_and_write() -> int:
        result.write_text(json.dumps(work()))
        return 0

    if os.waitpid(fork(work_and_write), 0)[1]:
        raise SystemExit("see above")
    row: dict[str, Any] = json.loads(result.read_text())
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description="What a power cut may leave of checkpoints and runs.")
    parser.add_argument("--states", type=int, default=10_000, help="of saves (default: 10000)")
    parser.add_argument("--runs", type=int, default=200, help="states of a run, that goes on in each (default: 200)")
    parser.add_argument("--seed", type=int, default=0, help="of the states; rows of another one are kept beside these")
    parser.add_argument("--out", type=Path, default=Path("benchmarks"), metavar="FOLDER", help="of the results")
    args = parser.parse_args()
    need_strace()
    wrong = 0
    for count, states_of in ((args.states, states_of_saves), (args.runs, states_of_a_run)):
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            row = in_a_fork(partial(states_of, count, args.seed, place), place / "row.json") if count else None
        if row is None:
            continue
        merge(args.out, "crash-states", [row], ("of", "seed"))
        print(f"{row['of']}, {row['states']} states in {time.monotonic() - started:.0f} s, of {row['operations']}")
        for what, tried in row["verdicts"].items():
            print(f"{tried:6d}  {what}")
            wrong += tried * what.startswith("wrong")
    if wrong:
        raise SystemExit(1)


if __name__ == "__main__":
    main()

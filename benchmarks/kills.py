"""Runs killed at random moments, again and again, and started anew each time: do they end with the same bits?

    python benchmarks/kills.py                            # 1,000 kills: three tasks on 1, 2 and 4 processes
    python benchmarks/kills.py --kills 100 --seed 7       # 100 more, at other moments
    python benchmarks/kills.py --runs detect --processes 2 --keep /tmp/kills

Every run is `twins train --recipe FILE --resume`, as a scheduler would start it again. The moment is drawn uniformly
over the length of the run; then SIGKILL ends all of its processes at once, or one rank or one loader worker first and
the others up to half a second later, as an agent does that sees one die. A run that came to its end has to leave what
one left that nobody killed: weights, moving average, optimiser, scaler, schedule, best metric, and every line of its
logs but for times and speeds.

Networks are of a few thousand parameters, plots are left out, and processes are forked from one that has imported
everything, so that a kill takes seconds. Merges its rows into benchmarks/kills-DATE.json and prints them as a table.
"""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # a process with threads must not be forked

import argparse
import contextlib
import json
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

from dated_results import merge
from killable_runs import Ranks, adopt_orphans, fork
from run_contents import contents, differences
from started_runs import BadEndError, Case, check_end, finished_folder, preload, start, uninterrupted
from tiny_runs import RUNS, leave_plots_out, write_data
from twins.progress import clock

PROCESSES = (1, 2, 4)
KILLS_A_RUN = 30  # most; then it may come to its end
ENOUGH_FAULTS = 5  # of a case
KEY = ("task", "run", "processes", "seed")
COUNTS = ("kills", "during a save", "runs", "identical")
WHO_FIRST = ("all at once", "a rank first", "a worker first")  # was killed


def kill_again_and_again(case: Case, kills: int, seed: int, folder: Path) -> dict[str, Any]:
    """Runs of a case, killed `kills` times in all: a row of the results."""
    adopt_orphans()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the whole group; the main process ends this one
    leave_plots_out()
    rng = random.Random(f"{seed} {case}")
    data = write_data(folder / "data")
    reference = uninterrupted(case, data, folder / "reference")
    counts: Counter[str] = Counter()
    faults: list[str] = []
    for number in count():
        if counts["kills"] >= kills or len(faults) == ENOUGH_FAULTS:
            break
        output, before = folder / f"run{number}", counts["kills"]
        try:
            left = contents(killed_run(case, data, output, reference.seconds, rng, counts))
            different = differences(left, reference.content)
        except (BadEndError, OSError, ValueError) as error:
            faults.append(f"{output}: {error}")
        else:
            faults += [f"{output}: differs in {', '.join(different)}"] if different else []
            counts["identical"] += not different and counts["kills"] > before
        counts["runs"] += counts["kills"] > before  # others were quicker than their killer
    return {
        **{"task": case.run.task, "run": case.run.name, "processes": case.processes, "seed": seed},
        **{name: counts[name] for name in (*COUNTS, *WHO_FIRST)},
        **{"faults": faults, "seconds a run": round(reference.seconds, 2)},
    }


def killed_run(case: Case, data: Path, output: Path, seconds: float, rng: random.Random, counts: Counter[str]) -> Path:
    """The folder of a run that was killed and started until it came to its end.

    Raises BadEndError where it ends by itself before that, or never.
    """
    for attempt in range(KILLS_A_RUN + 1):
        ranks = start(case, data, output)
        patience = rng.uniform(0, seconds) if attempt < KILLS_A_RUN else 60 + 20 * seconds
        ended = ranks.wait(until=patience)
        if ended or any(ranks.statuses.values()) or attempt == KILLS_A_RUN:
            check_end(ranks, ended, output)
            return finished_folder(output)
        saves = set(half_written(output))
        counts[_kill(ranks, rng)] += 1
        counts["kills"] += 1
        counts["during a save"] += bool(set(half_written(output)) - saves)
        if list(output.glob("*/*/summary.json")):
            return finished_folder(output)
    raise AssertionError("the last attempt returns or raises")


def _kill(ranks: Ranks, rng: random.Random) -> str:
    """Kill all processes, or one and then the others; returns whom first."""
    victims = dict(zip(WHO_FIRST, ([], ranks.running(), ranks.workers()), strict=True))
    first = rng.choice([name for name, some in victims.items() if some or name == WHO_FIRST[0]])
    if victims[first]:
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.kill(rng.choice(victims[first]), signal.SIGKILL)
        time.sleep(rng.uniform(0, 0.5))
    ranks.end()
    return first


def half_written(output: Path) -> list[Path]:
    """Checkpoints that a killed process was writing."""
    return list(output.glob("*/*/.*checkpoint*"))


def run_all(cases: Sequence[Case], kills: int, seed: int, jobs: int, folder: Path, out: Path) -> list[dict[str, Any]]:
    """The rows of all cases, each of them in a process of its own, written down as they come."""
    waiting, running, rows, started = list(cases), {}, [], time.monotonic()
    while waiting or running:
        while waiting and len(running) < jobs:
            case = waiting.pop(0)
            place = folder / str(case).replace(" ", "-")
            place.mkdir(parents=True)
            running[fork(lambda case=case, place=place: _as_job(case, kills, seed, place))] = case, place
        ended, status = os.wait()
        case, place = running.pop(ended)
        if status:
            raise SystemExit(f"{case}: see above")
        rows.append(json.loads((place / "row.json").read_text()))
        merge(out, "kills", rows[-1:], KEY)
        left = (time.monotonic() - started) / len(rows) * (len(cases) - len(rows))
        print(f"{line(rows[-1])}  {clock(left)} left", flush=True)
        for fault in rows[-1]["faults"]:
            print(f"    {fault}", flush=True)
    return rows


def _as_job(case: Case, kills: int, seed: int, place: Path) -> int:
    (place / "row.json").write_text(json.dumps(kill_again_and_again(case, kills, seed, place)))
    return 0


def line(row: dict[str, Any]) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(str(row[name]) for name in ('task', 'run', 'processes', *COUNTS))} |"


def main() -> None:
    parser = argparse.ArgumentParser(description="Runs killed at random moments: do they end with the same bits?")
    parser.add_argument("--kills", type=int, default=1000, help="at least so many, over all runs (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments; rows of another one are kept beside these")
    parser.add_argument("--runs", nargs="+", metavar="WORD", help="those whose task or name has it (default: all)")
    parser.add_argument("--processes", nargs="+", type=int, default=PROCESSES, help="default: 1 2 4")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs at a time (default: one a core)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep all runs there, to look into them")
    parser.add_argument("--out", type=Path, default=Path("benchmarks"), metavar="FOLDER", help="of the results")
    args = parser.parse_args()
    preload()
    words = args.runs or [""]
    runs = [run for run in RUNS if any(word in f"{run.task} {run.name}" for word in words)]
    cases = [Case(run, processes) for processes in args.processes for run in runs]
    if not cases:
        parser.error(f"no run has {' or '.join(words)} in its name")
    print("| task | run | processes | kills | during a save | runs | identical |\n|---|---|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        rows = run_all(cases, -(-args.kills // len(cases)), args.seed, args.jobs, args.keep or Path(folder), args.out)
    print(", ".join(f"{sum(row[name] for row in rows)} {name}" for name in (*COUNTS, *WHO_FIRST)))
    if any(row["faults"] for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()

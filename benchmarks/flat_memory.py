"""A run that trains, evaluates and saves for minutes: do its memory, open files and threads stay what they were?

    python benchmarks/flat_memory.py                        # ten minutes
    python benchmarks/flat_memory.py --minutes 2 --run retinanet

The run is one of the tiny ones, with two loader workers, epochs of a second, a moving average, and a checkpoint every
two updates beside those of each epoch. Memory is the proportional set size (PSS) of the process itself, and of it and
its workers together, some of which come and go with each evaluation: pages that they share count once. What counts is
the slope of the second half, when caches are filled. Merges its row into benchmarks/flat-memory-DATE.json, and draws
memory over time beside it.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dated_results import merge
from killable_runs import children
from tiny_runs import RUNS, write_data, write_recipe
from twins.progress import clock

EVERY = 0.5  # seconds between two looks
FOR_EVER = 1_000_000  # epochs


class Sample(NamedTuple):
    """A look at a run and its workers."""

    seconds: float
    own_megabytes: float  # proportional set size of the run's own process
    megabytes: float  # of all
    files: int
    threads: int
    processes: int


def look(process: int, started: float) -> Sample | None:
    """None where a process ended meanwhile."""
    family = [process, *children(process)]
    try:
        sizes = [_pss(member) for member in family]
        files = sum(len(os.listdir(f"/proc/{member}/fd")) for member in family)
        threads = sum(len(os.listdir(f"/proc/{member}/task")) for member in family)
    except (FileNotFoundError, ProcessLookupError):
        return None
    return Sample(time.monotonic() - started, sizes[0] / 1024, sum(sizes) / 1024, files, threads, len(family))


def _pss(process: int) -> int:
    """In kB."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def watch(process: subprocess.Popen[bytes], seconds: float) -> list[Sample]:
    """Looks at a run for so long, or until it ends."""
    samples: list[Sample] = []
    started = said = time.monotonic()
    while (age := time.monotonic() - started) < seconds and process.poll() is None:
        sample = look(process.pid, started)
        samples += [sample] if sample else []
        if sample and time.monotonic() - said > 15:
            said = time.monotonic()
            print(f"{clock(age)}: {sample.megabytes:.0f} MB, {sample.files} files, {sample.threads} threads, "
                  f"{clock(seconds - age)} left", flush=True)  # fmt: skip
        time.sleep(EVERY)
    return samples


def slope(samples: list[Sample], what: str) -> float:
    """By least squares, a minute."""
    minutes = np.array([sample.seconds / 60 for sample in samples])
    return float(np.polyfit(minutes, [getattr(sample, what) for sample in samples], 1)[0])


def described(samples: list[Sample]) -> dict[str, Any]:
    """The row's fields about memory, open files and threads in the second half."""
    half = [sample for sample in samples if sample.seconds > samples[-1].seconds / 2]
    fields: dict[str, Any] = {"minutes": round(samples[-1].seconds / 60, 2), "looks": len(samples)}
    for name in ("own_megabytes", "megabytes", "files", "threads"):
        values = [getattr(sample, name) for sample in half]
        fields[f"{name}: least, median, most"] = [
            round(float(np.percentile(values, share)), 1) for share in (0, 50, 100)
        ]
        fields[f"{name} a minute"] = round(slope(half, name), 3)
    return fields


def draw(samples: list[Sample], title: str, path: Path) -> None:
    """Memory over time."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    minutes = [sample.seconds / 60 for sample in samples]
    axes.plot(minutes, [sample.megabytes for sample in samples], linewidth=0.8, label="with its workers")
    axes.plot(minutes, [sample.own_megabytes for sample in samples], linewidth=0.8, label="the run itself")
    axes.legend()
    axes.set(title=title, xlabel="minutes", ylabel="MB (PSS)", ylim=(0, None))
    figure.savefig(path, dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(description="Memory, open files and threads of a run that goes on and on.")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--run", default="ema mixup", metavar="WORD", help="of tiny_runs (default: ema mixup)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks"), metavar="FOLDER", help="of the results")
    args = parser.parse_args()
    run = next(run for run in RUNS if args.run in f"{run.task} {run.name}")
    run = run._replace(settings={**run.settings, "epochs": FOR_EVER, "workers": 2})
    with tempfile.TemporaryDirectory() as temporary:
        output = Path(temporary, "output")
        recipe = write_recipe(run, 1, write_data(Path(temporary, "data")), output)
        command = [sys.executable, "-m", "twins.cli", "train", "--recipe", str(recipe)]
        with output.with_suffix(".txt").open("wb") as console:
            process = subprocess.Popen(command, stdout=console, stderr=console)
            try:
                samples = watch(process, 60 * args.minutes)
                assert process.poll() is None, output.with_suffix(".txt").read_text()[-2000:]
            finally:
                process.send_signal(signal.SIGINT)
                status = process.wait(60)
        log = next(output.glob("*/*/log.txt")).read_text().splitlines()
    row = {"task": run.task, "run": run.name, "epochs": len(log), "status": status, **described(samples)}
    path = merge(args.out, "flat-memory", [row], ("task", "run"))
    draw(samples, f"{run.task}, {run.name}: {len(log)} epochs", path.with_suffix(".png"))
    for name, value in row.items():
        print(f"{name:38s} {value}")


if __name__ == "__main__":
    main()

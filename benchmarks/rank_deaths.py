"""Deaths of a rank: how soon they are noticed, how soon the run goes on, and whether it ends with the same weights.

python benchmarks/rank_deaths.py [--deaths 100] [--minutes 60]      # 10 to 25 s a death on two cores
python benchmarks/rank_deaths.py --table                            # print what was measured before

torchrun trains a tiny network on the digits by two processes, or by four. Again and again one of them, chosen at
random, is killed at a random moment of an epoch, or stopped as a frozen one is, and torchrun starts all anew. Noticed
is when the other ranks of the attempt have ended; going again is the first update after that. A run ends after some
deaths, and its weights and log are compared with those of a run that nobody disturbed. Results are added to
benchmarks/rank-deaths-DATE.json after every run, so that a measurement can be stopped and gone on with.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

EPOCHS = 6
DEATHS_A_RUN = 5
PATIENCE = 240  # seconds for a run to come to where it is waited for
FROZEN_TIMEOUT = 8  # seconds, --dist-timeout of the runs whose ranks are stopped
TINY = ("depths=1,1,1,1", "embed_dims=16,32,32,32", "num_heads=1,2,2,2")
GLOBAL_BATCH = 32
HERE = Path(__file__).parent


class Job:
    """One torchrun, and the run that it trains."""

    def __init__(self, folder: Path, processes: int, timeout: str = "5m", restarts: int = 0) -> None:
        self.folder, self.processes = folder, processes
        self.run = folder / "runs/classify/job"
        train = ["train", "--output", str(folder / "runs"), "--name", "job", "--epochs", str(EPOCHS), "--workers", "0",
                 "--batch-size", str(GLOBAL_BATCH // processes), "--device", "cpu", "--log-interval", "1",
                 "--dist-timeout", timeout, "--model-kwargs", *TINY]  # fmt: skip
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes),
                    "--max-restarts", str(restarts), "-m", "twins.cli"]  # fmt: skip
        folder.mkdir(parents=True)
        with (folder / "output.txt").open("w") as output:
            self.process = subprocess.Popen(
                [*torchrun, *train], stdout=output, stderr=subprocess.STDOUT, env={**os.environ, "OMP_NUM_THREADS": "1"}
            )

    def ranks(self) -> list[int]:
        """The processes of the attempt, in the order of ranks."""
        pid = self.process.pid
        try:
            tasks = list(Path(f"/proc/{pid}/task").iterdir())
            children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
            of_rank = {rank_of(child): child for child in children}
        except OSError:
            return []
        return [of_rank[rank] for rank in sorted(of_rank) if rank >= 0]

    def updates(self) -> int:
        """Rows that the run has written, one an update."""
        table = self.run / "steps.csv"
        return table.read_bytes().count(b"\n") if table.exists() else 0

    def wait_for_update(self, after: int) -> bool:
        """Wait until there are more; False if the run came to its end before."""
        return wait(lambda: self.updates() > after or self.ended()) and not self.ended()

    def ended(self) -> bool:
        return self.process.poll() is not None


def rank_of(pid: int) -> int:
    """A process's RANK; -1 for one that has none yet."""
    for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
        if entry.startswith(b"RANK="):
            return int(entry[5:])
    return -1


def wait(condition: Callable[[], bool]) -> bool:
    """True once it holds. Raises TimeoutError."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing for {PATIENCE} s")
        time.sleep(0.02)
    return True


def gone(pid: int) -> bool:
    """Whether a process has ended, be it that nobody has asked for its status yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def one_death(job: Job, rng: random.Random, how: signal.Signals, epoch: float) -> dict[str, Any] | None:
    """Let one rank die within an epoch's time of the next update; None if the run came to its end before."""
    if not job.wait_for_update(job.updates()):
        return None
    time.sleep(rng.uniform(0, 1.5 * epoch))  # more than an epoch on average would never end, less than one neither
    ranks = job.ranks()
    if job.ended() or len(ranks) < job.processes:
        return None
    victim = rng.randrange(job.processes)
    others = [pid for pid in ranks if pid != ranks[victim]]
    os.kill(ranks[victim], how)
    died = time.monotonic()
    wait(lambda: all(map(gone, others)))
    noticed = time.monotonic() - died
    going = job.wait_for_update(job.updates())
    return {
        "processes": job.processes,
        "signal": how.name,
        "rank": victim,
        "noticed": round(noticed, 2),
        "going": round(time.monotonic() - died, 2) if going else None,
    }


def timeless(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's log without what is measured in seconds."""
    rows = map(json.loads, (run / "log.txt").read_text().splitlines())
    return [{k: v for k, v in row.items() if "time" not in k and "second" not in k} for row in rows]


def same_ending(run: Path, undisturbed: Path) -> bool:
    """Whether weights and log lines of two runs are equal, bit for bit."""
    ours, theirs = (torch.load(r / "checkpoint.pth", weights_only=True)["model"] for r in (run, undisturbed))
    same = ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    return same and timeless(run) == timeless(undisturbed)


def disturbed_run(folder: Path, undisturbed: Path, seed: int, processes: int, frozen: bool, epoch: float) -> list[Any]:
    """The deaths of one run."""
    rng = random.Random(seed)
    how = signal.SIGSTOP if frozen else signal.SIGKILL
    job = Job(folder, processes, timeout=f"{FROZEN_TIMEOUT}s" if frozen else "5m", restarts=3 * DEATHS_A_RUN)
    deaths = []
    while len(deaths) < DEATHS_A_RUN:
        death = one_death(job, rng, how, epoch)
        if death is None:
            break
        deaths.append(death)
        print(json.dumps(death), flush=True)
    status = job.process.wait(timeout=PATIENCE)
    identical = status == 0 and same_ending(job.run, undisturbed)
    if not identical:
        print(f"not identical: status {status}, seed {seed}, {processes} processes; see {folder}", flush=True)
    return [{**death, "identical": identical, "seed": seed} for death in deaths]


def table(deaths: list[dict[str, Any]]) -> str:
    """A row a kind of death."""
    lines = [
        "| processes | a rank is | deaths | noticed within, median, max | going again within, median, max | identical |"
    ]
    lines.append("|--:|---|--:|--:|--:|--:|")
    for processes, how in sorted({(d["processes"], d["signal"]) for d in deaths}):
        rows = [d for d in deaths if (d["processes"], d["signal"]) == (processes, how)]
        noticed = [d["noticed"] for d in rows]
        going = [d["going"] for d in rows if d["going"] is not None]  # else the run had just come to its end
        what = "killed" if how == "SIGKILL" else f"frozen, --dist-timeout {FROZEN_TIMEOUT}s"
        spans = [f"{statistics.median(s):.1f} s, {max(s):.1f} s" if s else "-" for s in (noticed, going)]
        identical = f"{sum(d['identical'] for d in rows)} of {len(rows)}"
        lines.append(f"| {processes} | {what} | {len(rows)} | {' | '.join(spans)} | {identical} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill ranks of torchrun jobs at random.")
    parser.add_argument("--deaths", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=60, help="start no other run after so long")
    parser.add_argument("--table", action="store_true", help="only print the table of what there is")
    parser.add_argument("--out", type=Path, default=HERE / f"rank-deaths-{time.strftime('%Y-%m-%d')}.json")
    args = parser.parse_args()
    measured = json.loads(args.out.read_text()) if args.out.exists() else {"machine": machine(), "deaths": []}
    deaths, started = measured["deaths"], time.monotonic()
    with tempfile.TemporaryDirectory(prefix="rank-deaths-") as scratch:
        undisturbed: dict[int, tuple[Path, float]] = {}
        while not args.table and len(deaths) < args.deaths and time.monotonic() - started < 60 * args.minutes:
            seed = max((death["seed"] for death in deaths), default=-1) + 1
            processes, frozen = (4 if seed % 4 == 3 else 2), seed % 5 == 4
            if processes not in undisturbed:
                undisturbed[processes] = undisturbed_run(Path(scratch, f"plain-{processes}"), processes)
            plain, epoch = undisturbed[processes]
            deaths += disturbed_run(Path(scratch, str(seed)), plain, seed, processes, frozen, epoch)
            args.out.write_text(json.dumps(measured, indent=1) + "\n")
    print(table(deaths))


def undisturbed_run(folder: Path, processes: int) -> tuple[Path, float]:
    """A run to its end, and the seconds that an epoch of it takes."""
    job = Job(folder, processes)
    if job.process.wait(timeout=PATIENCE):
        raise RuntimeError((folder / "output.txt").read_text())
    seconds = [json.loads(line)["time"] for line in (job.run / "log.txt").read_text().splitlines()]
    return job.run, statistics.median(seconds)


def machine() -> dict[str, Any]:
    return {"cpus": os.cpu_count(), "platform": platform.platform(), "torch": str(torch.__version__)}


if __name__ == "__main__":
    main()

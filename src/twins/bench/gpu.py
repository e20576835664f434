"""Speed and memory on a GPU, beside timm and compilers: one backend after the other, each timed beside the baseline.

Everything is in pure bfloat16 with TF32 allowed, the images are on the GPU, and all have the same weights. The
baseline is our network as it is, not compiled. Each backend takes turns with it, and speedups between other backends
are taken through it: so each result is written at once, and what compilers take minutes for comes last.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch

from .. import ops
from ..timing import Pace, alternate
from .gpu_backends import BACKENDS, BASELINE, CaseInputs, GpuBackend, make_inputs, replays_graphs, start_on_gpu
from .machine import versions
from .measuring import Log, one_line
from .parity import Parity, compare
from .plan import Backend, Case
from .results_file import read_results, todays_file, write_rows
from .rows import Row, row_of, speed_row

WORKLOADS = (
    ("classifier", (224, 224), 256),
    ("classifier", (224, 224), 1),
    ("backbone", (800, 1216), 1),
    ("training", (224, 224), 256),
)
MODES = ("", "graphed", "compiled", "max-autotune")
PACE = Pace(blocks=5, seconds=0.5)
T = TypeVar("T")


class Failure(NamedTuple):
    """Why a backend has no result."""

    reason: str


class Ready(NamedTuple):
    """A backend that has computed its first outputs."""

    work: Callable[[], object]
    parity: Parity
    peak_mb: float | None  # the most that its work takes, weights included, where the allocator sees it


def bench_gpu(network: str, out: Path, deadline: float, log: Log) -> bool:
    """Measure what today's file of this GPU lacks of a network, but past `deadline` (perf_counter) one backend only.

    Returns whether nothing is missing. Without a CUDA device it says so, writes nothing and returns True.
    """
    if (gpu := _gpu_name()) is None:
        log("not measured: no CUDA device")
        return True
    torch.set_float32_matmul_precision("high")
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str((out / ".inductor").resolve()))
    machine = {"gpu": gpu, "cuda": str(torch.version.cuda), "twins": ops.backend("cuda")}
    log(f"twins: {machine['twins']}")
    path = todays_file(machine, out, kind="gpu")
    measured = 0
    for case, backends in _missing(network, _rows(path, network)):
        prepared = _try(partial(_prepare, case))
        if isinstance(prepared, Failure):
            log(f"{case.title} left out: {prepared.reason}")
            continue
        for backend in backends:
            if measured and time.perf_counter() > deadline:
                log(f"the time is up; call again to go on with {backend.title}, {case.title}")
                return False
            rows = _time_beside_baseline(case, backend, *prepared)
            write_rows(rows, machine, versions(), path)
            log(_summary(case, rows[-1]))
            measured += 1
    for line in speedups(_rows(path, network)):
        log(line)
    log(f"written to {path}")
    return True


def _gpu_name() -> str | None:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _rows(path: Path, network: str) -> list[Row]:
    """Those of this state of the source: what was measured with another is not comparable."""
    rows = read_results(path)[1] if path.exists() else []
    return [row for row in rows if row["network"] == network and row["versions"]["git"] == versions()["git"]]


def _missing(network: str, rows: Sequence[Row]) -> Iterator[tuple[Case, list[GpuBackend]]]:
    """Backends without a result, case by case: first those that start at once, last those that take minutes."""
    judged = (row for row in rows if "images_per_second" in row or row.get("parity") is False)
    done = {(row["workload"], row["size"], row["batch"], row["backend"]) for row in judged}
    for mode in MODES:
        for workload, size, batch in WORKLOADS:
            left = [
                backend
                for backend in BACKENDS
                if backend.mode == mode
                and (workload, f"{size[0]}x{size[1]}", batch, backend.title) not in done
                and not (mode == "graphed" and (workload == "training" or batch > 1))
            ]
            if left:
                yield Case(workload, network, size, batch, ()), left


def _prepare(case: Case) -> tuple[CaseInputs, Ready | Failure]:
    """What all backends of a case are given, and the baseline, ready."""
    torch._dynamo.reset()
    inputs = make_inputs(case)
    return inputs, _try_to_start(case, BASELINE, inputs)


def _time_beside_baseline(case: Case, backend: GpuBackend, inputs: CaseInputs, baseline: Ready | Failure) -> list[Row]:
    """Rows of the baseline and of a backend, timed by turns; the note of the latter says why there is no result."""
    started = {BASELINE.title: baseline}
    if backend != BASELINE:
        started[backend.title] = _try_to_start(case, backend, inputs)
    works = {title: e.work for title, e in started.items() if isinstance(e, Ready) and e.parity.holds}
    times: dict[str, list[float]] = {}
    failure = _try(partial(alternate, works, PACE, times, clock=_synchronised_clock))
    if isinstance(failure, Failure):
        started[backend.title] = failure
    rows = [_row(case, title, ready, times.get(title, [])) for title, ready in started.items()]
    return [row for row in _add_speedups(rows) if "images_per_second" in row or row is rows[-1]]


def _try_to_start(case: Case, backend: GpuBackend, inputs: CaseInputs) -> Ready | Failure:
    return _try(partial(_start, case, backend, inputs))


def _start(case: Case, backend: GpuBackend, inputs: CaseInputs) -> Ready:
    """Start a backend, compare its outputs with the reference, and see how much memory its work takes."""
    _free_cached_memory()
    others = torch.cuda.memory_allocated()
    runner = start_on_gpu(case, backend, inputs)
    parity = compare(Backend("twins", "bf16"), [t.float() for t in runner.outputs()], inputs.reference)
    runner.work()  # compilers have tuned, and an optimizer has its state
    torch.cuda.reset_peak_memory_stats()
    runner.work()
    peak = None if replays_graphs(case, backend) else (torch.cuda.max_memory_allocated() - others) / 1e6
    return Ready(runner.work, parity, peak)


def _try(work: Callable[[], T]) -> T | Failure:
    try:
        return work()
    except Exception as error:  # compilers and drivers raise anything at all, and the others go on
        return Failure(one_line(error))


def _free_cached_memory() -> None:
    gc.collect()
    torch.cuda.empty_cache()


def _synchronised_clock() -> float:
    """Seconds, once the GPU has finished all its work."""
    torch.cuda.synchronize()
    return time.perf_counter()


def _row(case: Case, title: str, ready: Ready | Failure, blocks: Sequence[float]) -> Row:
    if isinstance(ready, Failure):
        return row_of(case, title, note=ready.reason)
    row = speed_row(row_of(case, title), ready.parity, blocks, case.batch, peak=None, flops=0.0)
    return row if ready.peak_mb is None else row | {"peak_mb": ready.peak_mb}


def _add_speedups(rows: list[Row]) -> list[Row]:
    """The same rows, each speed put beside that of the baseline in the same turns."""
    speeds = {row["backend"]: row["images_per_second"] for row in rows if "images_per_second" in row}
    baseline = speeds.get(BASELINE.title)
    for row in rows:
        if baseline and row["backend"] in speeds:
            row["speedup_over_baseline"] = speeds[row["backend"]] / baseline
    return rows


def _summary(case: Case, row: Row) -> str:
    about = f"{case.title}: {row['backend']}"
    if row["note"]:
        return f"{about} left out: {row['note']}"
    if "images_per_second" not in row:
        return f"{about}: output differs by {row['error']:.1e}, not timed"
    memory = f"peak {row['peak_mb']:,.0f} MB, " if "peak_mb" in row else ""
    return f"{about}: {row['images_per_second']:,.0f} images/s, {memory}error {row['error']:.1e}"


def speedups(rows: Sequence[Row]) -> list[str]:
    """For each workload of a network, how many times as fast our fastest backend is as each of the peers."""
    cases: dict[tuple[Any, ...], dict[str, float]] = {}
    for row in rows:
        if "speedup_over_baseline" in row:
            key = (row["network"], row["workload"], row["size"], row["batch"])
            cases.setdefault(key, {})[row["backend"]] = row["speedup_over_baseline"]
    return [
        f"{', '.join(map(str, key))}: {line}" for key, speeds in cases.items() if (line := _speedups_over_peers(speeds))
    ]


def _speedups_over_peers(speeds: Mapping[str, float]) -> str:
    ours = [speed for title, speed in speeds.items() if title.startswith("twins ")]
    peers = {title: speed for title, speed in speeds.items() if not title.startswith("twins ")}
    return ", ".join(f"{max(ours) / speed:.2f} x {title}" for title, speed in peers.items()) if ours else ""

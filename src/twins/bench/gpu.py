"""Speed and memory on a GPU, beside timm and compilers: a network's cases one after the other.

Everything is in pure bfloat16 with TF32 allowed, the images are on the card, and all have the same weights. Contenders
of a case take turns. Compiling for the largest networks takes minutes, so that a case may be spread over several calls:
our plain form takes part in each, and ratios are taken through it.
"""

from __future__ import annotations

import gc
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..progress import Progress
from .gpu_contenders import ANCHOR, CONTENDERS, GpuContender, Material, gather_material, start_on_gpu
from .machine import versions
from .measuring import Say, or_say
from .parity import Parity, compare
from .plan import Case, Contender
from .results import Row, results_file, row_of, speed_row, write_rows
from .timing import Pace, alternate

WORK = (
    ("classifier", (224, 224), 256),
    ("classifier", (224, 224), 1),
    ("backbone", (800, 1216), 1),
    ("training", (224, 224), 256),
)
PACE = Pace(blocks=5, seconds=0.5)


class Entry(NamedTuple):
    """A contender that has answered."""

    work: Callable[[], object]
    parity: Parity
    peak_mb: float  # the most that its work takes, weights included


def bench_gpu(network: str, out: Path, limit: float, say: Say) -> bool:
    """Measure what today's file of this card lacks of a network; after `limit` seconds nobody else is started.

    Answers whether nothing is missing. Without a CUDA device it says so, writes nothing and answers True.
    """
    if (card := _card()) is None:
        say("not measured: no CUDA device")
        return True
    deadline = time.perf_counter() + limit
    torch.set_float32_matmul_precision("high")
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str((out / ".inductor").resolve()))
    machine = {"gpu": card, "cuda": str(torch.version.cuda)}
    path = results_file(machine, out, kind="gpu")
    for case, contenders in _missing(network, _rows(path, network)):
        rows, complete = _measure_case(case, contenders, deadline, say)
        write_rows(rows, machine, versions(), path)
        for row in rows:
            say(_line(case, row))
        if not complete:
            say(f"{limit:.0f} s have passed; call again to go on with {case.title}")
            return False
    for line in ratios(_rows(path, network)):
        say(line)
    say(f"written to {path}")
    return True


def _card() -> str | None:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _rows(path: Path, network: str) -> list[Row]:
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    return [row for row in rows if row["network"] == network]


def _missing(network: str, rows: Sequence[Row]) -> Iterator[tuple[Case, list[GpuContender]]]:
    done = {(row["what"], row["size"], row["batch"], row["contender"]) for row in rows}
    for what, size, batch in WORK:
        left = [
            contender
            for contender in CONTENDERS
            if (what, f"{size[0]}x{size[1]}", batch, contender.title) not in done
            and not (contender.how == "graphed" and (what == "training" or batch > 1))
        ]
        if left:
            yield Case(what, network, size, batch, ()), left


def _measure_case(case: Case, contenders: Sequence[GpuContender], deadline: float, say: Say) -> tuple[list[Row], bool]:
    """A row of everybody that was started in time, with figures or a note why not, and whether that was everybody."""
    contenders = [ANCHOR, *(contender for contender in contenders if contender != ANCHOR)]
    entries: dict[str, Entry | None] = {}
    times: dict[str, list[float]] = {}
    try:
        material = gather_material(case)
        progress = Progress("starting", len(contenders))
        for contender in progress.over(contenders):
            progress.note = contender.title
            if len(entries) > 1 and time.perf_counter() > deadline:  # each call gets on by one at least
                break
            entries[contender.title] = or_say(partial(_enter, case, contender, material), contender.title, say)
        alternate(
            {title: e.work for title, e in entries.items() if e and e.parity.holds}, PACE, times, clock=_when_idle
        )
        rows = [_row(case, title, entry, times.get(title, [])) for title, entry in entries.items()]
        return _beside_anchor(rows), len(entries) == len(contenders)
    finally:
        entries.clear()
        torch._dynamo.reset()
        _give_back()


def _enter(case: Case, contender: GpuContender, material: Material) -> Entry:
    """Start a contender, hear its answer, and see how much memory its work takes."""
    _give_back()
    others = torch.cuda.memory_allocated()
    runner = start_on_gpu(case, contender, material)
    parity = compare(Contender("twins", "bf16"), [t.float() for t in runner.answer()], material.reference)
    runner.work()  # compilers have tuned, and an optimizer has its state
    torch.cuda.reset_peak_memory_stats()
    runner.work()
    return Entry(runner.work, parity, (torch.cuda.max_memory_allocated() - others) / 1e6)


def _row(case: Case, title: str, entry: Entry | None, blocks: Sequence[float]) -> Row:
    if entry is None:
        return row_of(case, title, note="failed")
    return speed_row(row_of(case, title) | {"peak_mb": entry.peak_mb}, entry.parity, blocks, case.batch, None, 0.0)


def _beside_anchor(rows: list[Row]) -> list[Row]:
    """The same rows, each speed put beside that of our plain form in the same turns."""
    speeds = {row["contender"]: row["images_per_second"] for row in rows if "images_per_second" in row}
    if anchor := speeds.get(ANCHOR.title):
        return [
            row | ({"times_anchor": speed / anchor} if (speed := speeds.get(row["contender"])) else {}) for row in rows
        ]
    return rows


def _give_back() -> None:
    gc.collect()
    torch.cuda.empty_cache()


def _when_idle() -> float:
    """Seconds, once the card has done all that it was asked for."""
    torch.cuda.synchronize()
    return time.perf_counter()


def _line(case: Case, row: Row) -> str:
    if "images_per_second" not in row:
        return f"{case.title}: {row['contender']}: {row['note'] or 'differs, no figure'}"
    speed, memory = row["images_per_second"], row["peak_mb"]
    return f"{case.title}: {row['contender']}: {speed:,.0f} images/s, peak {memory:,.0f} MB, error {row['error']:.1e}"


def ratios(rows: Sequence[Row]) -> list[str]:
    """For each piece of a network's work, how many times as fast our best form is as each of the peers."""
    cases: dict[tuple[Any, ...], dict[str, float]] = {}
    for row in rows:
        if "times_anchor" in row:
            key = (row["network"], row["what"], row["size"], row["batch"])
            cases.setdefault(key, {})[row["contender"]] = row["times_anchor"]
    return [f"{', '.join(map(str, key))}: {line}" for key, speeds in cases.items() if (line := _beside_peers(speeds))]


def _beside_peers(speeds: Mapping[str, float]) -> str:
    ours = max(speed for title, speed in speeds.items() if title.startswith("twins "))
    peers = {title: speed for title, speed in speeds.items() if not title.startswith("twins ")}
    return ", ".join(f"{ours / speed:.2f} x {title}" for title, speed in peers.items())

"""Speed and memory on a GPU, beside timm and compilers: duels with our plain form, one after the other.

Everything is in pure bfloat16 with TF32 allowed, the images are on the card, and all have the same weights. Each
contender takes turns with our plain form, and ratios between others are taken through it: so a figure is written as
soon as it is there, and what compilers take minutes for comes last.
"""

from __future__ import annotations

import gc
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch

from .. import ops
from .gpu_backends import ANCHOR, CONTENDERS, GpuContender, Material, gather_material, is_recorded, start_on_gpu
from .machine import versions
from .measuring import Say, in_a_line
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
HOWS = ("", "graphed", "compiled", "max-autotune")
PACE = Pace(blocks=5, seconds=0.5)
T = TypeVar("T")


class Failure(NamedTuple):
    """Why a contender has no figure."""

    why: str


class Entry(NamedTuple):
    """A contender that has answered."""

    work: Callable[[], object]
    parity: Parity
    peak_mb: float | None  # the most that its work takes, weights included, where the allocator sees it


def bench_gpu(network: str, out: Path, deadline: float, say: Say) -> bool:
    """Measure what today's file of this card lacks of a network; past `deadline` (perf_counter) only one duel is begun.

    Answers whether nothing is missing. Without a CUDA device it says so, writes nothing and answers True.
    """
    if (card := _card()) is None:
        say("not measured: no CUDA device")
        return True
    torch.set_float32_matmul_precision("high")
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str((out / ".inductor").resolve()))
    machine = {"gpu": card, "cuda": str(torch.version.cuda), "twins": ops.backend("cuda")}
    say(f"twins: {machine['twins']}")
    path = results_file(machine, out, kind="gpu")
    fought = 0
    for case, contenders in _missing(network, _rows(path, network)):
        prepared = _try(partial(_prepare, case))
        if isinstance(prepared, Failure):
            say(f"{case.title} left out: {prepared.why}")
            continue
        for contender in contenders:
            if fought and time.perf_counter() > deadline:
                say(f"the time is up; call again to go on with {contender.title}, {case.title}")
                return False
            rows = _duel(case, contender, *prepared)
            write_rows(rows, machine, versions(), path)
            say(_line(case, rows[-1]))
            fought += 1
    for line in ratios(_rows(path, network)):
        say(line)
    say(f"written to {path}")
    return True


def _card() -> str | None:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _rows(path: Path, network: str) -> list[Row]:
    """Those of this state of the source: what was measured with another is not comparable."""
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    return [row for row in rows if row["network"] == network and row["versions"]["git"] == versions()["git"]]


def _missing(network: str, rows: Sequence[Row]) -> Iterator[tuple[Case, list[GpuContender]]]:
    """Who has no figure yet, case by case: first those that start at once, last those that are tuned for minutes."""
    judged = (row for row in rows if "images_per_second" in row or row.get("parity") is False)
    done = {(row["what"], row["size"], row["batch"], row["contender"]) for row in judged}
    for how in HOWS:
        for what, size, batch in WORK:
            left = [
                contender
                for contender in CONTENDERS
                if contender.how == how
                and (what, f"{size[0]}x{size[1]}", batch, contender.title) not in done
                and not (how == "graphed" and (what == "training" or batch > 1))
            ]
            if left:
                yield Case(what, network, size, batch, ()), left


def _prepare(case: Case) -> tuple[Material, Entry | Failure]:
    """What all contenders of a case are given, and our plain form, ready."""
    torch._dynamo.reset()
    material = gather_material(case)
    return material, _enter(case, ANCHOR, material)


def _duel(case: Case, contender: GpuContender, material: Material, anchor: Entry | Failure) -> list[Row]:
    """Rows of our plain form and of a contender, timed by turns; of the latter, a note why there is no figure."""
    entries = {ANCHOR.title: anchor}
    if contender != ANCHOR:
        entries[contender.title] = _enter(case, contender, material)
    works = {title: e.work for title, e in entries.items() if isinstance(e, Entry) and e.parity.holds}
    times: dict[str, list[float]] = {}
    failure = _try(partial(alternate, works, PACE, times, clock=_when_idle))
    if isinstance(failure, Failure):
        entries[contender.title] = failure
    rows = [_row(case, title, entry, times.get(title, [])) for title, entry in entries.items()]
    return [row for row in _beside_anchor(rows) if "images_per_second" in row or row is rows[-1]]


def _enter(case: Case, contender: GpuContender, material: Material) -> Entry | Failure:
    return _try(partial(_start_and_look, case, contender, material))


def _start_and_look(case: Case, contender: GpuContender, material: Material) -> Entry:
    """Start a contender, hear its answer, and see how much memory its work takes."""
    _give_back()
    others = torch.cuda.memory_allocated()
    runner = start_on_gpu(case, contender, material)
    parity = compare(Contender("twins", "bf16"), [t.float() for t in runner.answer()], material.reference)
    runner.work()  # compilers have tuned, and an optimizer has its state
    torch.cuda.reset_peak_memory_stats()
    runner.work()
    peak = None if is_recorded(case, contender) else (torch.cuda.max_memory_allocated() - others) / 1e6
    return Entry(runner.work, parity, peak)


def _try(work: Callable[[], T]) -> T | Failure:
    try:
        return work()
    except Exception as error:  # compilers and drivers raise anything at all, and the others are to go on
        return Failure(in_a_line(error))


def _give_back() -> None:
    gc.collect()
    torch.cuda.empty_cache()


def _when_idle() -> float:
    """Seconds, once the card has done all that it was asked for."""
    torch.cuda.synchronize()
    return time.perf_counter()


def _row(case: Case, title: str, entry: Entry | Failure, blocks: Sequence[float]) -> Row:
    if isinstance(entry, Failure):
        return row_of(case, title, note=entry.why)
    row = speed_row(row_of(case, title), entry.parity, blocks, case.batch, peak=None, flops=0.0)
    return row if entry.peak_mb is None else row | {"peak_mb": entry.peak_mb}


def _beside_anchor(rows: list[Row]) -> list[Row]:
    """The same rows, each speed put beside that of our plain form in the same turns."""
    speeds = {row["contender"]: row["images_per_second"] for row in rows if "images_per_second" in row}
    anchor = speeds.get(ANCHOR.title)
    for row in rows:
        if anchor and row["contender"] in speeds:
            row["times_anchor"] = speeds[row["contender"]] / anchor
    return rows


def _line(case: Case, row: Row) -> str:
    about = f"{case.title}: {row['contender']}"
    if row["note"]:
        return f"{about} left out: {row['note']}"
    if "images_per_second" not in row:
        return f"{about}: differs by {row['error']:.1e}, no figure"
    memory = f"peak {row['peak_mb']:,.0f} MB, " if "peak_mb" in row else ""
    return f"{about}: {row['images_per_second']:,.0f} images/s, {memory}error {row['error']:.1e}"


def ratios(rows: Sequence[Row]) -> list[str]:
    """For each piece of a network's work, how many times as fast our best form is as each of the peers."""
    cases: dict[tuple[Any, ...], dict[str, float]] = {}
    for row in rows:
        if "times_anchor" in row:
            key = (row["network"], row["what"], row["size"], row["batch"])
            cases.setdefault(key, {})[row["contender"]] = row["times_anchor"]
    return [f"{', '.join(map(str, key))}: {line}" for key, speeds in cases.items() if (line := _beside_peers(speeds))]


def _beside_peers(speeds: Mapping[str, float]) -> str:
    ours = [speed for title, speed in speeds.items() if title.startswith("twins ")]
    peers = {title: speed for title, speed in speeds.items() if not title.startswith("twins ")}
    return ", ".join(f"{max(ours) / speed:.2f} x {title}" for title, speed in peers.items()) if ours else ""

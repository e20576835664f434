"""One case from weights to rows: start every backend, check its outputs, then time all of them by turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, TypeVar

import torch

from ..flops import count_flops
from ..native import instruction_set, matmul_speeds
from ..native.library import missing as no_engine
from ..timing import Pace, alternate
from .backends import start
from .memory import measure_memory
from .networks import image_shape, our_network, weights_of
from .parity import Parity, compare
from .plan import DIGITS, DTYPES, Backend, Case
from .roofline import Roofline
from .rows import Row, add_speedups, row_of, speed_row
from .runners import Outputs, Runner
from .training import start_training

Log = Callable[[str], None]
T = TypeVar("T")


class Checked(NamedTuple):
    """A runner after its first outputs."""

    runner: Runner
    parity: Parity
    seconds: float  # that the first outputs took


class Measured(NamedTuple):
    """Rows of a case, and whether Ctrl-C stopped it before the end."""

    rows: list[Row]
    stopped: bool = False


def measure_case(case: Case, pace: Pace, log: Log) -> Measured:
    """Speed of every backend, or its memory. One that fails is left out, and `log` gets a line that says why.

    Ctrl-C while blocks are timed leaves the results of those that are complete.
    """
    with TemporaryDirectory(prefix="twins-bench-") as folder:
        if case.workload == "memory":
            return Measured(_memory_rows(case, Path(folder), log))
        if case.workload == "data":
            from .input_pipeline import measure_pipeline  # which needs torchvision

            return Measured(*measure_pipeline(case, pace, Path(folder)))
        if case.workload == "products":
            return Measured(_product_rows(case, log))
        if case.workload == "accuracy":
            return Measured(_accuracy_rows(case, Path(folder), log))
        runners, reference = _start_all(case, Path(folder), log)
        return time_runners(case, check_all(runners, reference, log), pace)


def check_all(runners: Sequence[Runner], reference: Outputs, log: Log) -> list[Checked]:
    """Compare the first outputs of every backend with the reference."""
    checked = []
    for runner in runners:
        started = time.perf_counter()
        outputs = or_log(runner.outputs, runner.backend.title, log)
        if outputs is not None:
            seconds = time.perf_counter() - started
            checked.append(Checked(runner, compare(runner.backend, outputs, reference), seconds))
    return checked


def time_runners(case: Case, checked: Sequence[Checked], pace: Pace) -> Measured:
    """Time those whose outputs are near enough.

    Where all first outputs together take longer than the limit, their times count and nothing is run again.
    """
    timed = {c.runner.backend.title: c for c in checked if c.parity.timed}
    roofline = Roofline({c.runner.actual_dtype for c in timed.values()})
    roofline.measure()
    times: dict[str, list[float]] = {}
    stopped = False
    if sum(c.seconds for c in timed.values()) > pace.limit:
        times = {title: [c.seconds] for title, c in timed.items()}
    else:
        try:
            alternate({title: c.runner.work for title, c in timed.items()}, pace, times, roofline.measure)
        except KeyboardInterrupt:
            stopped = True
    return Measured(_speed_rows(case, checked, times, roofline), stopped)


def _start_all(case: Case, folder: Path, log: Log) -> tuple[list[Runner], Outputs]:
    """All backends that can start, and the outputs of our plain network in float32."""
    weights = weights_of(case)
    images = torch.randn(case.batch, *image_shape(case), generator=torch.Generator().manual_seed(1))

    def begin(backend: Backend) -> Runner:
        if case.workload == "training":
            return start_training(backend, case, weights, images)
        return start(backend, case, lambda: weights, images, folder)

    started = (or_log(partial(begin, c), c.title, log) for c in case.backends)
    runners = [runner for runner in started if runner is not None]
    return runners, [tensor.clone() for tensor in begin(Backend("twins")).outputs()]


def _speed_rows(case: Case, checked: Sequence[Checked], times: dict[str, list[float]], roofline: Roofline) -> list[Row]:
    backward = 3 if case.workload == "training" else 1  # the gradients cost two products for each of the forward
    flops = 2.0 * backward * _multiply_adds(case)
    rows = []
    for runner, agreement, _ in checked:
        row = row_of(case, runner.backend.title, runner.note) | {
            "actual_dtype": runner.actual_dtype,
            "executed": runner.executed,
        }
        blocks = times.get(runner.backend.title, [])
        rows.append(speed_row(row, agreement, blocks, case.batch, roofline.gflops(runner.actual_dtype), flops))
    add_speedups(rows)
    return rows


def _multiply_adds(case: Case) -> float:
    """Of one image, without what padding computes; 0 for exported files, whose heads are not counted."""
    if case.workload == "exported":
        return 0.0
    return count_flops(our_network(case, window_padding="mask"), case.size).total


def _memory_rows(case: Case, folder: Path, log: Log) -> list[Row]:
    rows = []
    for backend in case.backends:
        memory = or_log(partial(measure_memory, backend, case, folder), backend.title, log)
        if memory is not None:
            rows.append(row_of(case, backend.title) | {"peak_mb": memory.peak, "held_mb": memory.held})
    return rows


def _accuracy_rows(case: Case, folder: Path, log: Log) -> list[Row]:
    from .accuracy import digits_weights, load_trained, measure_accuracy  # which import the training loop

    weights = digits_weights(log) if case.network == DIGITS else Path(case.network)
    log(f"classifier {weights}")
    trained = load_trained(weights)
    rows = []
    for backend in case.backends:
        found = or_log(partial(measure_accuracy, backend, trained, folder), backend.title, log)
        if found is not None:
            row = row_of(case, backend.title) | {"top1": found.top1, "error": found.error, "executed": found.executed}
            rows.append(row | {"images": len(trained.images), "weights": str(weights)})
    return rows


def _product_rows(case: Case, log: Log) -> list[Row]:
    """What each instruction set multiplies in each dtype; the one that `freeze` chooses is noted."""
    if reason := no_engine():
        log(f"products left out: {reason}")
        return []
    rows = []
    for dtype in DTYPES:
        chosen = instruction_set(dtype)
        for name, gflops in matmul_speeds(dtype, torch.get_num_threads(), seconds=0.2).items():
            row = row_of(case, f"{name} {dtype}", "chosen" if name == chosen else "")
            rows.append(row | {"gflops": gflops})
    return rows


def or_log(work: Callable[[], T], title: str, log: Log) -> T | None:
    """What `work` returns, or None and a line that says why a backend is left out."""
    try:
        return work()
    except Exception as error:  # converters raise anything at all, and the others go on
        log(f"{title} left out: {one_line(error)}")
        return None


def one_line(error: Exception) -> str:
    """An error of any library, whose message may have many lines, or none."""
    first = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {first[:200]}"

"""One case from weights to rows: start everybody, check everybody, then time them by turns."""

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
from .backends import draw_weights, our_network, start
from .memory import measure_memory
from .parity import Parity, compare
from .plan import DTYPES, Case, Contender
from .results import Row, add_ratios, row_of, speed_row
from .runners import Answer, Runner
from .timing import Pace, Roofline, alternate
from .training import start_training

Say = Callable[[str], None]
T = TypeVar("T")


class Checked(NamedTuple):
    """A runner after its first answer."""

    runner: Runner
    parity: Parity
    seconds: float  # that the first answer took


class Measured(NamedTuple):
    """Rows of a case, and whether somebody stopped it before the end."""

    rows: list[Row]
    stopped: bool = False


def measure_case(case: Case, pace: Pace, say: Say) -> Measured:
    """Speed of every contender, or its memory. One that fails is left out, and `say` gets a line that tells why.

    Ctrl-C while blocks are timed leaves figures of those that are complete.
    """
    with TemporaryDirectory(prefix="twins-bench-") as folder:
        if case.what == "memory":
            return Measured(_memory_rows(case, Path(folder), say))
        if case.what == "data":
            from .pipeline import measure_pipeline  # which needs torchvision, as no other command's help does

            return Measured(*measure_pipeline(case, pace, Path(folder)))
        if case.what == "products":
            return Measured(_product_rows(case, say))
        if case.what == "accuracy":
            return Measured(_accuracy_rows(case, Path(folder), say))
        runners, reference = _start_all(case, Path(folder), say)
        return time_runners(case, check_all(runners, reference, say), pace)


def check_all(runners: Sequence[Runner], reference: Answer, say: Say) -> list[Checked]:
    """Compare everybody's first answer with the reference."""
    checked = []
    for runner in runners:
        started = time.perf_counter()
        answer = or_say(runner.answer, runner.contender.title, say)
        if answer is not None:
            seconds = time.perf_counter() - started
            checked.append(Checked(runner, compare(runner.contender, answer, reference), seconds))
    return checked


def time_runners(case: Case, checked: Sequence[Checked], pace: Pace) -> Measured:
    """Time those whose answer is near enough. Where first answers take longer than the limit, they are the figures."""
    racing = {c.runner.contender.title: c for c in checked if c.parity.timed}
    roofline = Roofline({c.runner.ran for c in racing.values()})
    roofline.measure()
    times: dict[str, list[float]] = {}
    stopped = False
    if sum(c.seconds for c in racing.values()) > pace.limit:
        times = {title: [c.seconds] for title, c in racing.items()}
    else:
        try:
            alternate({title: c.runner.work for title, c in racing.items()}, pace, times, roofline.measure)
        except KeyboardInterrupt:
            stopped = True
    return Measured(_speed_rows(case, checked, times, roofline), stopped)


def _start_all(case: Case, folder: Path, say: Say) -> tuple[list[Runner], Answer]:
    """Everybody that can start, and the answer of our plain network in float32."""
    weights = draw_weights(case)
    images = torch.randn(case.batch, 3, *case.size, generator=torch.Generator().manual_seed(1))

    def begin(contender: Contender) -> Runner:
        if case.what == "training":
            return start_training(contender, case, weights, images)
        return start(contender, case, lambda: weights, images, folder)

    started = (or_say(partial(begin, c), c.title, say) for c in case.contenders)
    runners = [runner for runner in started if runner is not None]
    return runners, [tensor.clone() for tensor in begin(Contender("twins")).answer()]


def _speed_rows(case: Case, checked: Sequence[Checked], times: dict[str, list[float]], roofline: Roofline) -> list[Row]:
    backward = 3 if case.what == "training" else 1  # the gradients cost two products for each of the forward
    needed = count_flops(our_network(case, window_padding="mask"), case.size).total  # whatever padding computes besides
    flops = 2.0 * backward * needed
    rows = []
    for runner, agreement, _ in checked:
        row = row_of(case, runner.contender.title, runner.note) | {"ran": runner.ran, "executed": runner.executed}
        blocks = times.get(runner.contender.title, [])
        rows.append(speed_row(row, agreement, blocks, case.batch, roofline.gflops(runner.ran), flops))
    add_ratios(rows)
    return rows


def _memory_rows(case: Case, folder: Path, say: Say) -> list[Row]:
    rows = []
    for contender in case.contenders:
        found = or_say(partial(measure_memory, contender, case, folder), contender.title, say)
        if found is not None:
            rows.append(row_of(case, contender.title) | {"peak_mb": found.peak, "held_mb": found.held})
    return rows


def _accuracy_rows(case: Case, folder: Path, say: Say) -> list[Row]:
    from .accuracy import DIGITS, digits_weights, load_trained, measure_accuracy  # which bring in the training loop

    weights = digits_weights(say) if case.network == DIGITS else Path(case.network)
    say(f"classifier {weights}")
    trained = load_trained(weights)
    rows = []
    for contender in case.contenders:
        found = or_say(partial(measure_accuracy, contender, trained, folder), contender.title, say)
        if found is not None:
            row = row_of(case, contender.title) | {"top1": found.top1, "error": found.error, "executed": found.executed}
            rows.append(row | {"images": len(trained.images), "weights": str(weights)})
    return rows


def _product_rows(case: Case, say: Say) -> list[Row]:
    """What each instruction set multiplies in each dtype; the one that `freeze` chooses is noted."""
    if reason := no_engine():
        say(f"products left out: {reason}")
        return []
    rows = []
    for dtype in DTYPES:
        chosen = instruction_set(dtype)
        for name, gflops in matmul_speeds(dtype, torch.get_num_threads(), seconds=0.2).items():
            row = row_of(case, f"{name} {dtype}", "chosen" if name == chosen else "")
            rows.append(row | {"gflops": gflops})
    return rows


def or_say(work: Callable[[], T], title: str, say: Say) -> T | None:
    """What `work` answers, or a line that says why a contender is left out."""
    try:
        return work()
    except Exception as error:  # converters raise anything at all, and the others are to go on
        say(f"{title} left out: {in_a_line(error)}")
        return None


def in_a_line(error: Exception) -> str:
    """What went wrong in somebody's library, whose messages may have many lines, or none."""
    first = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {first[:200]}"

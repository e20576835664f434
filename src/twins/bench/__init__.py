"""Speed and memory of the networks on this machine, beside other ways to run them.

A case is one network at one size and batch. All contenders of a case get the same weights, the same images and as
many threads, and run by turns in one process; nobody gets a figure whose answer differs from our plain network's, but
for int8 of other libraries, whose speed is then marked.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from ..optional_dependencies import need
from .backends import missing
from .chart import draw_chart
from .machine import describe_machine, versions
from .measuring import Say, measure_case
from .plan import Case
from .results import Row, results_file, table_of, write_rows
from .summary_chart import draw_summary
from .timing import Pace

__all__ = ["run_cases"]


def run_cases(cases: Sequence[Case], pace: Pace, out: Path, threads: int | None = None, as_json: bool = False) -> bool:
    """Measure every case, print its table, and keep `out`/cpu-DATE.json (data-DATE.json) and the charts up to date.

    Answers whether all of it was measured; after Ctrl-C what there is until then is printed and written as well.
    Raises TwinsError where `out` cannot be written to.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    machine, libraries = describe_machine(), versions()
    path = results_file(machine, out, kind="data" if any(case.what == "data" for case in cases) else "cpu")
    say = _say_to_errors if as_json else _say
    cases = _without_missing(cases, say)
    console = need("rich.console", extra="train").Console(width=120)
    rows: list[Row] = []
    finished = True
    for number, case in enumerate(cases, 1):
        say(f"{number}/{len(cases)}: {case.title}")
        try:
            measured = measure_case(case, pace, say)
        except KeyboardInterrupt:
            finished = False
            break
        rows += measured.rows
        if not as_json:
            console.print(table_of(case, measured.rows, machine))
        write_rows(measured.rows, machine, libraries, path)
        if measured.stopped:
            finished = False
            break
    if as_json:
        print(json.dumps({"machine": machine, "versions": libraries, "rows": rows}, indent=1))
    if rows:
        charts = [draw_chart(path), draw_summary(out)]
        say(f"written to {path}" + "".join(f" and {chart}" for chart in charts if chart))
    if not finished:
        say("stopped before the end")
    return finished


def _without_missing(cases: Sequence[Case], say: Say) -> list[Case]:
    """The cases without those contenders that cannot run here; says once for each reason which ones."""
    absent: dict[str, list[str]] = {}
    there = []
    for case in cases:
        reasons = {contender: missing(contender, case.what) for contender in case.contenders}
        for contender, reason in reasons.items():
            if reason and contender.title not in (titles := absent.setdefault(reason, [])):
                titles.append(contender.title)
        there.append(case._replace(contenders=tuple(c for c, reason in reasons.items() if not reason)))
    for reason, titles in absent.items():
        say(f"{', '.join(titles)} left out: {reason}")
    return there


def _say(text: str) -> None:
    print(text, flush=True)


def _say_to_errors(text: str) -> None:
    print(text, file=sys.stderr, flush=True)

"""Every case in turn: measured, printed as a table, kept in today's file of results and drawn."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from ..optional_dependencies import need
from ..timing import Pace
from .backends import missing
from .cpu_chart import draw_cpu_chart
from .exported_file import measure_exported
from .machine import describe_machine, versions
from .measuring import Log, measure_case
from .networks import unlike_timms
from .plan import Case
from .results_chart import draw_results_chart
from .results_file import todays_file, write_rows
from .rows import Row
from .table import table_of


def run_cases(cases: Sequence[Case], pace: Pace, out: Path, threads: int | None = None, as_json: bool = False) -> bool:
    """Measure every case, print its table, and keep `out`/cpu-DATE.json (data-DATE.json) and the charts up to date.

    Returns whether all of it was measured; after Ctrl-C what there is until then is printed and written as well.
    Raises TwinsError where `out` cannot be written to.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    machine, libraries = describe_machine(), versions()
    path = todays_file(machine, out, kind="data" if any(case.workload == "data" for case in cases) else "cpu")
    log = _log_to_stderr if as_json else _log
    cases = _without_missing(cases, log)
    console = need("rich.console", extra="train").Console(width=120)
    rows: list[Row] = []
    finished = True
    for number, case in enumerate(cases, 1):
        log(f"{number}/{len(cases)}: {case.title}")
        try:
            measured = (measure_exported if case.workload == "exported" else measure_case)(case, pace, log)
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
        charts = [draw_results_chart(path), draw_cpu_chart(out)]
        log(f"written to {path}" + "".join(f" and {chart}" for chart in charts if chart))
    if not finished:
        log("stopped before the end")
    return finished


def _without_missing(cases: Sequence[Case], log: Log) -> list[Case]:
    """The cases without those backends that cannot run here; logs once for each reason which ones."""
    absent: dict[str, list[str]] = {}
    there = []
    for case in cases:
        reasons = {b: missing(b, case.workload) or unlike_timms(b, case) for b in case.backends}
        for backend, reason in reasons.items():
            if reason and backend.title not in (titles := absent.setdefault(reason, [])):
                titles.append(backend.title)
        there.append(case._replace(backends=tuple(b for b, reason in reasons.items() if not reason)))
    for reason, titles in absent.items():
        log(f"{', '.join(titles)} left out: {reason}")
    return there


def _log(text: str) -> None:
    print(text, flush=True)


def _log_to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)

"""A case, a machine and rows of results to print, keep and draw."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from twins.bench.parity import Parity
from twins.bench.plan import Backend, Case, choose_backends
from twins.bench.rows import Row, add_speedups, row_of, speed_row
from twins.bench.table import table_of

SMALL = Case("classifier", "twins_svt_small", (56, 56), 1, choose_backends(("fp32",), ()))
MACHINE = {"cpu": "Abacus", "instruction_sets": ["beads"], "threads": 2}


def make_rows(case: Case, **speeds: float) -> list[Row]:
    """A row for each engine at so many images/s, of 1 GFLOP each, beneath a roofline of 100 GFLOP/s."""
    rows = []
    for engine, speed in speeds.items():
        row = row_of(case, Backend(engine).title, "ran fp32" if engine == "openvino" else "")
        rows.append(speed_row(row, Parity(2e-6, 1e-5), [1 / speed], 1, peak=100.0, flops=1e9))
    add_speedups(rows)
    return rows


def printed(rows: list[Row]) -> str:
    """The table of a case as text."""
    text = StringIO()
    Console(file=text, width=120).print(table_of(SMALL, rows, MACHINE))
    return text.getvalue()

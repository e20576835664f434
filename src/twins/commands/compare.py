"""`twins compare`: several runs on one page."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..shown_text import shown

if TYPE_CHECKING:
    from ..report.comparison import Comparison


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Its flags."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "compare",
        usage="twins compare RUN RUN ... [--out FILE]",
        description="Compare runs of one task: metrics side by side, curves over each other, the settings that differ, "
        "and the classes that gained and lost, on one page that any browser opens without a network.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="the folder of a run, as runs/classify/digits")
    parser.add_argument(
        "--out", default="comparison.html", metavar="FILE", help="the page; one that is there is replaced"
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """Write the page, and print the metrics."""
    from ..report.comparison import read_comparison, write_comparison

    comparison = read_comparison([Path(folder) for folder in args.runs])
    path = Path(args.out)
    write_comparison(comparison, path)
    _print_metrics(comparison)
    print(f"look   {shown(path)}")
    return 0


def _print_metrics(comparison: Comparison) -> None:
    """A table with a column a run."""
    table = [("", *map(shown, comparison.labels)), *((row.title, *row.texts) for row in comparison.rows())]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for title, *cells in table:
        print("  ".join([title.ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells, widths[1:], strict=True))]))

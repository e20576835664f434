"""The chart of one file of results: speeds relative to timm's, a panel for each case."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

from ..optional_dependencies import need
from .results_file import read_results
from .rows import Row, relative_speeds, trains

_COLUMNS = 3
_PNG_COLOURS = 48  # so few keep the file small
_TITLES = {
    "accuracy": "",
    "memory": "",
    "classifier": "",
    "backbone": "backbone ",
    "training": "training ",
    "data": "data, ",
}
_COLOURS = {
    "twins frozen": "#0b6e4f",
    "twins turbo": "#0b6e4f",
    "twins": "#6cae8f",
    "timm": "#9aa5b1",
    "ONNX": "#c98b4b",
    "OpenVINO": "#5b7db1",
}


def draw_results_chart(path: Path) -> Path | None:
    """Draw the speeds of a file of results as a PNG of the same name; None where there are none to compare."""
    machine, all_rows = read_results(path)
    panels = {title: relative_speeds(rows) for title, rows in _panels(all_rows).items()}
    panels = {title: rows for title, rows in panels.items() if rows}
    if not panels:
        return None
    columns = min(_COLUMNS, len(panels))
    counts = [len(rows) for rows in panels.values()]
    lines = [max(counts[i : i + columns]) for i in range(0, len(counts), columns)]
    figure = need("matplotlib.figure", extra="train").Figure(
        (max(3.6 * columns, 5.0), 0.24 * sum(lines) + 0.75 * len(lines) + 0.5), layout="constrained"
    )
    axes = figure.subplots(len(lines), columns, squeeze=False, height_ratios=[count + 2 for count in lines]).flatten()
    best: dict[bool, float] = {}  # training has a scale of its own: where bfloat16 is emulated, speedups are far larger
    for row in (row for rows in panels.values() for row in rows):
        best[trains(row)] = max(row["relative"], best.get(trains(row), 0.0))
    for index, (title, rows) in enumerate(panels.items()):
        _draw_panel(axes[index], title, rows, lines[index // columns])
        axes[index].set_xlim(0, 1.15 * best[trains(rows[0])])
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    notes = dict.fromkeys(f"* {row['note']}" for rows in panels.values() for row in rows if row["note"])
    figure.suptitle(f"Speed relative to timm, {machine['threads']} threads of {machine['cpu']}", fontsize=11)
    figure.supxlabel("; ".join(notes), fontsize=7.5, color="#666666")
    return save_small(figure, path.with_suffix(".png"))


def save_small(figure: Any, path: Path) -> Path:
    """Write a figure as a PNG of few colours."""
    png = BytesIO()
    figure.savefig(png, dpi=90)
    need("PIL.Image", extra="train").open(png).convert("RGB").quantize(_PNG_COLOURS).save(path, optimize=True)
    return path


def _panels(rows: list[Row]) -> dict[str, list[Row]]:
    """Rows by case, in the order of the file; training in float32 and bfloat16 shares a panel."""
    panels: dict[str, list[Row]] = {}
    for row in (row for row in rows if row["workload"] in _TITLES):
        size = row["size"].replace("x", " x ")
        title = f"{_TITLES[row['workload']]}{row['network']}\n{size}, batch {row['batch']}"
        panels.setdefault(title, []).append(row)
    return panels


def _draw_panel(ax: Any, title: str, rows: list[Row], slots: int) -> None:
    """Bars from the top down, as thick as if there were `slots` of them."""
    names = [row["backend"] + (" *" if row["note"] else "") for row in rows]
    speeds = [row["relative"] for row in rows]
    bars = ax.barh(range(len(rows)), speeds, height=0.72, color=[_colour(row["backend"]) for row in rows])
    ax.bar_label(bars, [f"{speed:.2f}" for speed in speeds], fontsize=7.5, padding=2)
    ax.axvline(1.0, color="#333333", linewidth=0.8)
    ax.set_yticks(range(len(rows)), names, fontsize=7.5)
    ax.set_ylim(slots - 0.4, -0.6)
    ax.set_title(title, fontsize=8.5, loc="left")
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", labelsize=7, colors="#666666")
    ax.spines[["top", "right", "left"]].set_visible(False)


def _colour(backend: str) -> str:
    return next(colour for start, colour in _COLOURS.items() if backend.startswith(start))

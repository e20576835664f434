"""An image of the speeds in a file of results: how many times timm's, a panel for each case."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

from ..optional_dependencies import need
from .results import Row

_COLUMNS = 3
_TINTS = 48  # of the image, which keep it small
_WHAT = {
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


def draw_chart(path: Path) -> Path | None:
    """Draw the speeds in a file of results beside it, and answer the image; None where there are none to compare."""
    kept = json.loads(path.read_text(encoding="utf-8"))
    panels = {title: relative_speeds(rows) for title, rows in _panels(kept["rows"]).items()}
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
    best: dict[bool, float] = {}  # training has a scale of its own: where bfloat16 is emulated, ratios are far larger
    for row in (row for rows in panels.values() for row in rows):
        best[_trains(row)] = max(row["relative"], best.get(_trains(row), 0.0))
    for place, (title, rows) in enumerate(panels.items()):
        _draw_panel(axes[place], title, rows, lines[place // columns])
        axes[place].set_xlim(0, 1.15 * best[_trains(rows[0])])
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    machine = kept["machine"]
    noted = dict.fromkeys(f"* {row['note']}" for rows in panels.values() for row in rows if row["note"])
    figure.suptitle(f"Times timm's speed, {machine['threads']} threads of {machine['processor']}", fontsize=11)
    figure.supxlabel("; ".join(noted), fontsize=7.5, color="#666666")
    image = path.with_suffix(".png")
    return save_small(figure, image)


def save_small(figure: Any, path: Path) -> Path:
    """Write a figure as a PNG of few colours."""
    drawn = BytesIO()
    figure.savefig(drawn, dpi=90)
    need("PIL.Image", extra="train").open(drawn).convert("RGB").quantize(_TINTS).save(path, optimize=True)
    return path


def relative_speeds(rows: list[Row]) -> list[Row]:
    """The rows of a case that have a speed beside timm's, with `relative`: how many times timm's in float32.

    In training it is timm's of the same precision: a step in bfloat16 is another step.
    """
    fp32 = next((row.get("images_per_second") for row in rows if row["contender"] == "timm eager fp32"), None)
    return [
        row | {"relative": row["times_timm"] if fp32 is None or _trains(row) else row["images_per_second"] / fp32}
        for row in rows
        if "times_timm" in row
    ]


def _trains(row: Row) -> bool:
    return bool(row["what"] == "training")


def _panels(rows: list[Row]) -> dict[str, list[Row]]:
    """Rows by case, in the order of the file; training in float32 and bfloat16 shares a panel."""
    panels: dict[str, list[Row]] = {}
    for row in (row for row in rows if row["what"] in _WHAT):
        size = row["size"].replace("x", " x ")
        title = f"{_WHAT[row['what']]}{row['network']}\n{size}, batch {row['batch']}"
        panels.setdefault(title, []).append(row)
    return panels


def _draw_panel(ax: Any, title: str, rows: list[Row], room: int) -> None:
    """Bars from the top down, as high as if there were `room` of them."""
    names = [row["contender"] + (" *" if row["note"] else "") for row in rows]
    speeds = [row["relative"] for row in rows]
    bars = ax.barh(range(len(rows)), speeds, height=0.72, color=[_colour(row["contender"]) for row in rows])
    ax.bar_label(bars, [f"{speed:.2f}" for speed in speeds], fontsize=7.5, padding=2)
    ax.axvline(1.0, color="#333333", linewidth=0.8)
    ax.set_yticks(range(len(rows)), names, fontsize=7.5)
    ax.set_ylim(room - 0.4, -0.6)
    ax.set_title(title, fontsize=8.5, loc="left")
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", labelsize=7, colors="#666666")
    ax.spines[["top", "right", "left"]].set_visible(False)


def _colour(contender: str) -> str:
    return next(colour for start, colour in _COLOURS.items() if contender.startswith(start))

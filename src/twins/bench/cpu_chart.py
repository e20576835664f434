"""The chart of all CPUs that were measured: the main networks, ours beside the best of OpenVINO and ONNX Runtime."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..optional_dependencies import need
from .results_chart import save_small
from .results_file import read_results
from .rows import Row, relative_speeds

NAME = "cpu.png"
NETWORKS = {"twins_svt_small": "SVT-S", "twins_svt_base": "SVT-B", "twins_pcpvt_small": "PCPVT-S"}
BATCHES = (1, 16)
SIZE = "224x224"
_INSTRUCTION_SETS = {  # best first
    "amx_tile": "AMX",
    "avx512_vnni": "AVX-512 VNNI",
    "avx512f": "AVX-512",
    "avx2": "AVX2",
}
_WIDTH = 0.16  # of a bar, where a case is 1 wide


class Series(NamedTuple):
    """Bars of one colour: the fastest of those backends whose title has the prefix."""

    label: str
    prefix: str  # of a backend's title
    colour: str


SERIES = (
    Series("twins fp32", "twins frozen fp32", "#0b6e4f"),
    Series("twins bf16", "twins frozen bf16", "#4d9f80"),
    Series("twins int8", "twins frozen int8", "#8fc7ae"),
    Series("OpenVINO, its fastest type", "OpenVINO", "#5b7db1"),
    Series("ONNX Runtime, its fastest type", "ONNX Runtime", "#c98b4b"),
)


def draw_cpu_chart(folder: Path) -> Path | None:
    """Draw `folder`/cpu.png from the newest cpu-*.json of each machine; None where there is nothing to compare."""
    machines = [(machine, cases) for machine, rows in newest_of_each_cpu(folder) if (cases := main_cases(rows))]
    if not machines:
        return None
    figure = need("matplotlib.figure", extra="train").Figure((9.6, 0.5 + 2.0 * len(machines)), layout="constrained")
    axes = figure.subplots(len(machines), 1, squeeze=False).flatten()
    for ax, (machine, cases) in zip(axes, machines, strict=True):
        _draw_machine(ax, machine, cases)
    handles = [need("matplotlib.patches", extra="train").Patch(color=s.colour, label=s.label) for s in SERIES]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(SERIES), fontsize=8, frameon=False)
    marked = any(row["parity"] is False for _, cases in machines for rows in cases.values() for row in rows)
    note = "; * output differs by more than 0.2 rms on drawn weights" if marked else ""
    figure.supxlabel(f"images/s relative to timm eager in fp32, {SIZE.replace('x', ' x ')}{note}", fontsize=8)
    return save_small(figure, folder / NAME)


def newest_of_each_cpu(folder: Path) -> list[tuple[dict[str, Any], list[Row]]]:
    """(machine, rows) of the newest file of each machine, in the order of their dates."""
    newest: dict[str, tuple[dict[str, Any], list[Row]]] = {}
    for path in sorted(folder.glob("cpu-*.json"), key=lambda path: path.stem.split("-")):
        machine, rows = read_results(path)
        newest[json.dumps(machine, sort_keys=True)] = machine, rows
    return list(newest.values())


def main_cases(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows of the main cases that were compared with timm, with `relative`: speed over timm's in fp32."""
    cases = {}
    for network, short in NETWORKS.items():
        for batch in BATCHES:
            key = ("classifier", network, SIZE, batch)
            case = [row for row in rows if (row["workload"], row["network"], row["size"], row["batch"]) == key]
            if compared := relative_speeds(case):
                cases[f"{short}, batch {batch}"] = compared
    return cases


def _draw_machine(ax: Any, machine: dict[str, Any], cases: dict[str, list[Row]]) -> None:
    for index, rows in enumerate(cases.values()):
        for offset, series in enumerate(SERIES, -(len(SERIES) // 2)):
            matching = [row for row in rows if row["backend"].startswith(series.prefix)]
            if matching:
                _draw_bar(ax, index + offset * _WIDTH, max(matching, key=lambda row: row["relative"]), series)
    ax.axhline(1.0, color="#333333", linewidth=0.8)
    ax.set_xticks(range(len(cases)), cases, fontsize=8)
    ax.margins(x=0.01, y=0.14)
    best = next((title for name, title in _INSTRUCTION_SETS.items() if name in machine["instruction_sets"]), "")
    title = ", ".join(filter(None, [machine["cpu"], best, f"{machine['threads']} threads"]))
    ax.set_title(title, fontsize=9, loc="left")
    ax.tick_params(axis="x", length=0)
    ax.tick_params(axis="y", labelsize=7, colors="#666666")
    ax.spines[["top", "right"]].set_visible(False)


def _draw_bar(ax: Any, x: float, row: Row, series: Series) -> None:
    bar = ax.bar(x, row["relative"], 0.92 * _WIDTH, color=series.colour)
    star = "*" if row["parity"] is False else ""
    ax.bar_label(bar, [f"{row['relative']:.1f}{star}"], fontsize=7, padding=1)
    if series.label.endswith("type"):
        dtype = row.get("actual_dtype") or row["backend"].rpartition(" ")[2]
        ax.text(x, 0.06, dtype, rotation=90, ha="center", va="bottom", fontsize=7, color="white")

"""Figures as rows: derived from times, kept in a dated file, printed as a table."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from ..errors import TwinsError
from ..optional_dependencies import need
from .parity import Parity
from .plan import Case

Row = dict[str, Any]
DIFFERS = "output differs by more than 0.2 rms; see --accuracy"
_KEY = ("what", "network", "size", "batch", "contender")


def row_of(case: Case, contender: str, note: str = "") -> Row:
    """What names a row, and when it was measured."""
    return {
        "what": case.what,
        "network": case.network,
        "size": f"{case.size[0]}x{case.size[1]}",
        "batch": case.batch,
        "contender": contender,
        "note": note,
        "measured": time.strftime("%Y-%m-%dT%H:%M:%S"),
    }


def speed_row(row: Row, parity: Parity, blocks: Sequence[float], batch: int, peak: float | None, flops: float) -> Row:
    """Speed of a contender: the median over its blocks, in seconds a call, unless its output differs too much.

    `peak` is the roofline in GFLOP/s, `flops` what one image needs (a multiply-add is two).
    """
    row = row | {"error": parity.error, "bound": parity.bound, "parity": parity.holds}
    if not parity.timed or not blocks:
        return row
    if not parity.holds:
        row |= {"note": "; ".join(filter(None, [row["note"], DIFFERS]))}
    speed = batch / statistics.median(blocks)
    row |= {"images_per_second": speed, "ms_per_image": 1000 / speed, "blocks": len(blocks)}
    if flops:
        row |= {"gflops": flops * speed / 1e9}
    return row | ({"of_roofline": row["gflops"] / peak, "roofline_gflops": peak} if peak else {})


def add_ratios(rows: list[Row]) -> None:
    """Put every speed of a case beside timm's, of the same precision or else float32, and beside the runtimes'.

    Those of OpenVINO and ONNX Runtime are of the same precision or none.
    """
    speeds = {row["contender"]: row["images_per_second"] for row in rows if "images_per_second" in row}
    for row in rows:
        if row["contender"] not in speeds:
            continue
        dtype = row["contender"].rpartition(" ")[2]
        theirs_of = {
            "times_timm": speeds.get(f"timm eager {dtype}", speeds.get("timm eager fp32")),
            "times_openvino": speeds.get(f"OpenVINO {dtype}"),
            "times_onnxruntime": speeds.get(f"ONNX Runtime {dtype}"),
        }
        for name, theirs in theirs_of.items():
            if theirs is not None:
                row[name] = row["images_per_second"] / theirs


def results_file(machine: Mapping[str, Any], folder: Path, kind: str = "cpu") -> Path:
    """Today's file of this machine: KIND-DATE.json, or KIND-DATE-2.json ... where that one is of another machine.

    Another number of threads is another machine. Makes the folder; raises TwinsError where it cannot, or for a file of
    that name that holds something else.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TwinsError(f"--out {folder}: cannot write there ({error.strerror})") from error
    date = time.strftime("%Y-%m-%d")
    names = (f"{kind}-{date}{f'-{number}' if number > 1 else ''}.json" for number in count(1))
    return next(path for path in map(folder.joinpath, names) if not path.exists() or _machine_of(path) == machine)


def _machine_of(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))["machine"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise TwinsError(f"{path}: not a file of results; move it, or choose another --out") from error


def write_rows(rows: Sequence[Row], machine: Mapping[str, Any], versions: Mapping[str, str], path: Path) -> None:
    """Merge rows into a file of results: a row replaces the one of the same work and contender.

    Every row keeps the versions that it was measured with. Raises TwinsError where nothing can be written.
    """
    before = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    fresh = [row | {"versions": dict(versions)} for row in rows]
    merged = {tuple(row[key] for key in _KEY): row for row in [*before, *fresh]}
    text = json.dumps({"machine": machine, "rows": list(merged.values())}, indent=1) + "\n"
    part = path.with_suffix(".part")  # so that a stop leaves the old file or the new one
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise TwinsError(f"{path}: cannot be written ({error.strerror})") from error


def table_of(case: Case, rows: Sequence[Row], machine: Mapping[str, Any]) -> Any:
    """A rich table of one case."""
    about = f"{machine['processor']}, {machine['threads']} threads"
    table = need("rich.table", extra="train").Table(
        title=f"{case.title}\n{about}", box=need("rich.box", extra="train").SIMPLE
    )
    table.add_column("contender", no_wrap=True)
    columns = [column for column in _COLUMNS if any(column[1] in row for row in rows)]
    for heading, *_ in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(row["contender"], *(_cell(row, key, form) for _, key, form in columns))
    table.caption = "\n".join(f"{row['contender']}: {remarks}" for row in rows if (remarks := _remarks(row))) or None
    table.caption_justify = "left"
    return table


_COLUMNS = (
    ("images/s", "images_per_second", "{:.2f}"),
    ("ms/image", "ms_per_image", "{:.1f}"),
    ("x timm\neager", "times_timm", "{:.2f}"),
    ("x OpenVINO\nsame type", "times_openvino", "{:.2f}"),
    ("x ONNX RT\nsame type", "times_onnxruntime", "{:.2f}"),
    ("GFLOP/s", "gflops", "{:.0f}"),
    ("of\nroofline", "of_roofline", "{:.0%}"),
    ("top-1\n%", "top1", "{:.2f}"),
    ("error", "error", "{:.1e}"),
    ("read\nms", "read_ms", "{:.2f}"),
    ("crop\nms", "crop_ms", "{:.2f}"),
    ("augment\nms", "augment_ms", "{:.2f}"),
    ("tensor\nms", "tensor_ms", "{:.2f}"),
    ("peak MB", "peak_mb", "{:.0f}"),
    ("held MB", "held_mb", "{:.0f}"),
)


def _remarks(row: Row) -> str:
    return "; ".join(filter(None, [row.get("executed"), row["note"]]))


def _cell(row: Row, key: str, form: str) -> str:
    if key == "error" and row.get("parity") is False:
        return form.format(row[key]) + " !"
    if key == "images_per_second" and row.get("parity") is False and key not in row:
        return "differs"
    return form.format(row[key]) if key in row else ""

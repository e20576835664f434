"""Results as rows of plain values: derived from times and parity, and put beside one another."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

from .parity import Parity
from .plan import Case

Row = dict[str, Any]
DIFFERS = "output differs by more than 0.2 rms; see --accuracy"


def row_of(case: Case, backend: str, note: str = "") -> Row:
    """What names a row, and when it was measured."""
    return {
        "workload": case.workload,
        "network": case.network,
        "size": f"{case.size[0]}x{case.size[1]}",
        "batch": case.batch,
        "backend": backend,
        "note": note,
        "measured": time.strftime("%Y-%m-%dT%H:%M:%S"),
    }


def speed_row(row: Row, parity: Parity, blocks: Sequence[float], batch: int, peak: float | None, flops: float) -> Row:
    """Speed of a backend: the median over its blocks, in seconds a call, unless its outputs differ too much.

    `peak` is the roofline in GFLOP/s, `flops` what one image needs (a multiply-add is two).
    """
    row = row | {"error": parity.error, "bound": parity.bound, "parity": parity.holds}
    if not parity.timed or not blocks:
        return row
    if not parity.holds:
        row |= {"note": "; ".join(filter(None, [row["note"], DIFFERS]))}
    speed = batch / statistics.median(blocks)
    row |= {"images_per_second": speed, "ms_per_image": 1000 / speed, "blocks": len(blocks)}
    if not flops:  # not counted
        return row
    row |= {"gflops": flops * speed / 1e9}
    return row | ({"of_roofline": row["gflops"] / peak, "roofline_gflops": peak} if peak else {})


def add_speedups(rows: list[Row]) -> None:
    """Put every speed of a case beside timm's, of the same precision or else float32, and beside the runtimes'.

    Those of OpenVINO and ONNX Runtime are of the same precision or none.
    """
    speeds = {row["backend"]: row["images_per_second"] for row in rows if "images_per_second" in row}
    for row in rows:
        if row["backend"] not in speeds:
            continue
        dtype = row["backend"].rpartition(" ")[2]
        peer_speeds = {
            "speedup_over_timm": speeds.get(f"timm eager {dtype}", speeds.get("timm eager fp32")),
            "speedup_over_openvino": speeds.get(f"OpenVINO {dtype}"),
            "speedup_over_onnxruntime": speeds.get(f"ONNX Runtime {dtype}"),
        }
        for key, speed in peer_speeds.items():
            if speed is not None:
                row[key] = row["images_per_second"] / speed


def relative_speeds(rows: list[Row]) -> list[Row]:
    """The rows of a case that have a speed beside timm's, with `relative`: that speed over timm's in float32.

    In training it is timm's of the same precision: a step in bfloat16 is another step.
    """
    fp32 = next((row.get("images_per_second") for row in rows if row["backend"] == "timm eager fp32"), None)
    return [
        row | {"relative": row["speedup_over_timm"] if fp32 is None or trains(row) else row["images_per_second"] / fp32}
        for row in rows
        if "speedup_over_timm" in row
    ]


def trains(row: Row) -> bool:
    """Whether the row is of training steps."""
    return bool(row["workload"] == "training")

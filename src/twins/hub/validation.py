"""What is known of how well a network does: the validation metrics of its run at the very epoch of its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..checkpoints.info import CheckpointInfo
from ..shown_text import shown


class Metric(NamedTuple):
    """How a metric is called here, and on the hub."""

    title: str
    hub_type: str


METRICS = {  # all in per cent
    "acc1": Metric("Acc@1", "accuracy"),
    "acc5": Metric("Acc@5", "top_5_accuracy"),
    "miou": Metric("mIoU", "mean_iou"),
    "macc": Metric("mAcc", "mean_accuracy"),
    "aacc": Metric("aAcc", "pixel_accuracy"),
    "ap": Metric("AP", "mAP"),
    "ap50": Metric("AP50", "mAP50"),
    "mask_ap": Metric("mask AP", "mask_mAP"),
}
_PREFIXES = ("val_", "test_")  # of validation metrics in a run's log; main.py has the second


class Validation(NamedTuple):
    """Metrics in per cent by the names of METRICS, and how they were measured, in words."""

    metrics: dict[str, float]
    how: str


def validation_of(info: CheckpointInfo) -> Validation | None:
    """The metrics of a checkpoint's weights, by the log beside it or by what it says of its best epoch.

    None where neither knows them: weights of others, and those of an epoch that was not complete.
    """
    stated = (info.checkpoint.get("meta") or {}).get("validation") if info.ours else None
    if isinstance(stated, Mapping):  # by a folder that was written before
        return Validation(dict(stated["metrics"]), str(stated["how"]))
    epoch = info.checkpoint.get("epoch")
    if not info.ours or type(epoch) is not int or info.checkpoint.get("step"):
        return None
    best = info.checkpoint.get("best") or {}
    logged = _logged(Path(info.source).with_name("log.txt"), epoch)
    if not logged and best.get("epoch") == epoch and best.get("metric") in METRICS:
        logged = {best["metric"]: best["value"]}
    metrics = {name: float(logged[name]) for name in METRICS if name in logged}
    if not metrics:
        return None
    data = shown(Path(str((info.recipe or {}).get("data") or "its data")).name)
    images = f"{logged['images']:.0f} validation images" if "images" in logged else "the validation images"
    return Validation(metrics, f"by the training run at the end of epoch {epoch}, on {images} of {data}")


def _logged(log: Path, epoch: int) -> dict[str, Any]:
    """The validation metrics of one epoch, counted from 0, in a run's log; {} where it has none."""
    try:
        rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines() if line]
        row: dict[str, Any] = next((row for row in reversed(rows) if row.get("epoch") == epoch), {})
    except (OSError, ValueError, AttributeError):  # no log, or no such log as a run writes
        return {}
    named = {name.removeprefix(prefix): v for prefix in _PREFIXES for name, v in row.items() if name.startswith(prefix)}
    return {name: value for name, value in named.items() if isinstance(value, int | float)}

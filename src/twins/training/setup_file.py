"""`setup.json`: what network a run trains or an evaluation measures, on what, and what was noticed of the data."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from .. import ops
from ..distributed.world import World
from ..recipes import Recipe
from ..tasks import Task
from .mixed_precision import amp_dtype

_MEGABYTE = 1e6  # bytes


def setup_record(
    task: Task, recipe: Recipe, model: Any, world: World, images: Mapping[str, int], notes: Sequence[str]
) -> dict[str, Any]:
    """The contents of `setup.json`; `images` is how many there are by part, `notes` a line each."""
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "classes": len(task.classes),
        "metrics": _best_first(task),
        "images": images,
        "part": task.part,
        "notes": notes,
        "device": world.describe(),
        "backend": ops.backend(world.device.type, amp_dtype(recipe, world.device)),
    }


def _best_first(task: Task) -> list[tuple[str, str, int]]:
    """The metrics as the console shows them, the one that decides which epoch is best first."""
    return sorted(task.columns, key=lambda column: column[0] != task.best_metric)


def peak_memory_mb(device: torch.device) -> dict[str, float]:
    """Most memory that this process has had so far, in MB (10^6 bytes), by where it is."""
    peak = {}
    if sys.platform != "win32":
        import resource  # which Windows does not have

        unit = 1 if sys.platform == "darwin" else 1024  # bytes
        peak["this process"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _MEGABYTE
    if device.type == "cuda":
        peak["GPU"] = torch.cuda.max_memory_allocated(device) / _MEGABYTE
    return {where: round(megabytes, 1) for where, megabytes in peak.items()}

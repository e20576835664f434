"""What a run leaves, and how to interrupt one."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from twins.tasks.classify import Classification
from twins.tasks.detect import Detection
from twins.tasks.segment import Segmentation
from twins.training import loop, report_writing, run_log


def weights_of(folder: Path, name: str = "checkpoint.pth", key: str = "model") -> dict[str, Tensor]:
    return torch.load(folder / name, weights_only=True)[key]


def log_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.txt").read_text().splitlines()]


def timeless_log(folder: Path) -> list[dict[str, Any]]:
    """A run's log without what differs between two runs of the same recipe."""
    return [{k: v for k, v in row.items() if "time" not in k and "second" not in k} for row in log_of(folder)]


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


def leave_plots_out(replace: Callable[[object, str, Any], None] = setattr) -> None:
    """Drawing takes longer than training a network of a few thousand parameters."""
    for task in (Classification, Segmentation, Detection):
        replace(task, "draw", lambda *_: None)
        replace(task, "draw_batch", lambda *_: None)
    replace(run_log, "draw_curves", lambda *_: None)
    replace(report_writing, "write_report", lambda *_: None)


class StopAfter:
    """Sends this process SIGINT, as Ctrl-C does, within one update of one epoch, which is finished."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, epoch: int, update: int) -> None:
        next_batch = loop.next_batch

        def stopping(setup: Any, batches: Any, at_epoch: int, at_update: int, part: int) -> Any:
            batch = next_batch(setup, batches, at_epoch, at_update, part)
            if (at_epoch, at_update, part) == (epoch, update, setup.recipe.grad_accum_steps - 1):
                os.kill(os.getpid(), signal.SIGINT)
            return batch

        monkeypatch.setattr(loop, "next_batch", stopping)
        self.undo = lambda: monkeypatch.setattr(loop, "next_batch", next_batch)

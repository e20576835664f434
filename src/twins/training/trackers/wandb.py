"""Weights & Biases: online for whoever is logged in, else files in the run's folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...optional_dependencies import need
from .base import PROJECT, Status, TrackedRun, Tracker, prefer_environment

EXIT_CODES: dict[Status, int] = {"finished": 0, "failed": 1, "interrupted": 130}


class Wandb(Tracker):
    """Its own settings and environment variables (WANDB_MODE, WANDB_PROJECT, WANDB_DIR ...) count before ours.

    Nothing is asked: without a login the run stays offline.
    """

    def __init__(self) -> None:
        prefer_environment(WANDB_ERROR_REPORTING="false")  # before its import
        self.package = need("wandb", extra="wandb")
        self.run: Any = None
        self.lacks_login = False

    def start(self, run: TrackedRun) -> str:
        if self.package.setup().settings.mode in ("online", "shared"):
            self.lacks_login = not self.package.login(prompt=False)
        self.run = self.package.init(
            project=_unless_set("WANDB_PROJECT", PROJECT),
            name=_unless_set("WANDB_NAME", run.name),
            dir=_unless_set("WANDB_DIR", str(run.folder)),
            config=run.recipe,
            id=run.id,
            resume=None if run.id is None else "allow",
            mode="offline" if self.lacks_login else None,
            allow_val_change=True,  # flags that were given on resuming
        )
        self.run.define_metric("*", step_metric="update")  # its own step may not go back, as after a crash
        return str(self.run.id)

    @property
    def notice(self) -> str:
        if not self.run.offline:
            return str(self.run.url)
        why = "not logged in (`wandb login` does), so offline; " if self.lacks_login else ""
        return f"{why}wandb sync {self.run.settings.sync_dir}"

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.run.log({**metrics, "update": step})

    def image(self, step: int, name: str, path: Path) -> None:
        self.run.log({name: self.package.Image(str(path)), "update": step})

    def finish(self, status: Status) -> None:
        self.run.finish(exit_code=EXIT_CODES[status])


def _unless_set(variable: str, value: str) -> str | None:
    """None, by which wandb takes what its environment variable says."""
    return None if os.environ.get(variable) else value

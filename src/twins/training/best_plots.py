"""Plots, tables and findings of the best epoch so far."""

from __future__ import annotations

import copy
import time

from ..tasks import Task
from .run_folder import RunFolder

AT_MOST_EVERY = 60  # seconds; an epoch of a small data set takes less time than its plots


class BestPlots:
    """Draws the best epoch's plots while a run lasts, and at its end, but not twice a minute."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.drawn_at = float("-inf")
        self.waiting: Task | None = None  # as it was after the best epoch's evaluation
        self.findings: list[str] = []

    def of_better_epoch(self, task: Task) -> None:
        """Draw what `task` has just evaluated, or keep it to be drawn later: each evaluation makes its results anew."""
        if not self.folder.main:
            return
        self.waiting = copy.copy(task)
        if time.monotonic() - self.drawn_at >= AT_MOST_EVERY:
            self.draw()

    def draw(self) -> None:
        """Draw what waits."""
        if self.waiting is not None:
            self.waiting.draw(self.folder.path)
            self.findings = self.waiting.findings()
            self.waiting, self.drawn_at = None, time.monotonic()

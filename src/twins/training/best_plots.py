"""Plots, tables and findings of the best epoch so far."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ..tasks import Task
from .run_folder import RunFolder
from .trackers.tracking import Tracking

FIRST_BATCH = "train_batch.png"  # which `Task.draw_batch` draws, once a run
AT_MOST_EVERY = 60  # seconds; an epoch of a small data set takes less time than its plots


class BestPlots:
    """Draws the best epoch's plots while a run lasts, and at its end, but not twice a minute; trackers get them too."""

    def __init__(self, folder: RunFolder, tracking: Tracking) -> None:
        self.folder, self.tracking = folder, tracking
        self.drawn_at = float("-inf")
        self.waiting: Task | None = None  # as it was after the best epoch's evaluation
        self.step = 0  # of that evaluation
        self.findings: list[str] = []

    def of_better_epoch(self, task: Task, step: int) -> None:
        """Draw what `task` has just evaluated, or keep it to be drawn later: each evaluation makes its results anew.

        The run has made `step` updates.
        """
        if not self.folder.main:
            return
        self.waiting, self.step = copy.copy(task), step
        if time.monotonic() - self.drawn_at >= AT_MOST_EVERY:
            self.draw()

    def draw(self) -> None:
        """Draw what waits."""
        if self.waiting is not None:
            with failed_plots_said(self.folder):
                self.waiting.draw(self.folder.path)
            self.tracking.images(self.step, (name for name in self.waiting.plots if name != FIRST_BATCH))
            self.findings = self.waiting.findings()
            self.waiting, self.drawn_at = None, time.monotonic()


@contextmanager
def failed_plots_said(folder: RunFolder) -> Iterator[None]:
    """What goes wrong with plots inside is said in a line, and stops nothing: hours of training are worth more."""
    try:
        yield
    except Exception as error:  # of whatever kind matplotlib has
        folder.say(f"{folder.path}: plots not drawn ({type(error).__name__}: {error})")

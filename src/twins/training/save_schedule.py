"""When a run saves within an epoch."""

from __future__ import annotations

import time

from ..recipes.durations import updates_or_seconds


class SaveSchedule:
    """Every so many updates of the run, or so long after it saved last, as `--save-every` says; None: never."""

    def __init__(self, save_every: str | None) -> None:
        self.updates, self.seconds = (None, None) if save_every is None else updates_or_seconds(save_every)
        self.saved()

    def saved(self) -> None:
        """A checkpoint has just been made, of whatever occasion."""
        self.saved_at, self.since = time.monotonic(), 0

    def due(self) -> bool:
        """Whether to save now, after one more update."""
        self.since += 1
        if self.updates is not None:
            return self.since >= self.updates
        return self.seconds is not None and time.monotonic() - self.saved_at >= self.seconds

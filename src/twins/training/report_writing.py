"""When a run's report is written: now and then while it lasts, and at its end; and what a failure to do so means."""

from __future__ import annotations

import time

from ..report.run_report import REPORT, write_report
from .run_folder import RunFolder

AT_MOST_EVERY = 60  # seconds; an epoch of a small data set takes less time than a report is worth


class ReportWriter:
    """Writes the report of a run's folder; every rank may have one, and those of a silent folder do nothing."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.written_at = time.monotonic()
        self.said = ""  # what went wrong last

    def after_epoch(self) -> None:
        """Write it, unless that was done less than a minute ago."""
        if time.monotonic() - self.written_at >= AT_MOST_EVERY:
            self.write()

    def write(self, interrupted: bool = False) -> bool:
        """Write it; returns whether that went well. What goes wrong is said in one line, and stops nothing."""
        if not self.folder.main:
            return False
        try:
            write_report(self.folder.path, interrupted)
        except Exception as error:  # of whatever kind: hours of training are worth more than a page about them
            self._say_once(f"{self.folder / REPORT}: not written ({type(error).__name__}: {error})")
            return False
        finally:
            self.written_at = time.monotonic()
        return True

    def _say_once(self, line: str) -> None:
        if line != self.said:
            self.folder.say(line)
        self.said = line

"""A bar with the time left while something long goes on; where there is no terminal, a line a minute."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Iterable, Iterator
from typing import TypeVar

from .optional_dependencies import need

T = TypeVar("T")
A_MINUTE = 60  # seconds


def clock(seconds: float) -> str:
    """A length of time as people say it: "41 s", "3 min 20 s", "5 h 12 min"."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"


def per_second(speed: float) -> str:
    """A speed as people say it: "252", "1.4", "0.04"."""
    return f"{speed:.{0 if speed >= 10 else 1 if speed >= 0.1 else 2}f}"


def rounded_speed(speed: float) -> float:
    """A speed for a table: five significant digits, since some networks take seconds an image."""
    return float(f"{speed:.5g}")


class Progress:
    """Wraps an iterable of known length; `note` sets the text behind the bar while it runs.

    The lines that take the bar's place go to stderr; whoever prints some of its own says `lines=False`.
    """

    def __init__(self, text: str, total: int, shown: bool = True, lines: bool = True) -> None:
        self.text, self.total = text, total
        self.shown = shown and sys.stdout.isatty()
        self.lines = shown and lines
        self.note = ""

    def over(self, items: Iterable[T]) -> Generator[T, None, None]:
        if not self.shown:
            yield from self._with_lines(items) if self.lines else items
            return
        rich = need("rich.progress", extra="train")
        columns = (
            rich.TextColumn("{task.description}"),
            rich.BarColumn(),
            rich.MofNCompleteColumn(),
            rich.TimeRemainingColumn(elapsed_when_finished=True),
            rich.TextColumn("{task.fields[note]}"),
        )
        with rich.Progress(*columns, transient=True) as bar:
            task = bar.add_task(self.text, total=self.total, note="")
            for item in items:
                yield item
                bar.update(task, advance=1, note=self.note)

    def _with_lines(self, items: Iterable[T]) -> Iterator[T]:
        started = printed = time.monotonic()
        for done, item in enumerate(items, start=1):
            yield item
            now = time.monotonic()
            if now - printed >= A_MINUTE and done < self.total:
                printed = now
                left = (now - started) / done * (self.total - done)
                print(f"{self.text}: {done} of {self.total}, {clock(left)} left", file=sys.stderr, flush=True)

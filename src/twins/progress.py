"""A bar with the time left while something long goes on; on a terminal only, since logs keep their own lines."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from .optional_dependencies import need

T = TypeVar("T")


def clock(seconds: float) -> str:
    """A length of time as people say it: "41 s", "3 min 20 s", "5 h 12 min"."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"


class Progress:
    """Wraps an iterable of known length; `note` sets the text behind the bar while it runs."""

    def __init__(self, text: str, total: int, shown: bool = True) -> None:
        self.text, self.total = text, total
        self.shown = shown and sys.stdout.isatty()
        self.note = ""

    def over(self, items: Iterable[T]) -> Iterator[T]:
        if not self.shown:
            yield from items
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

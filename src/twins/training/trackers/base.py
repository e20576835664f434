"""What every experiment tracker does, whichever package it speaks to."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

PROJECT = "twins"  # what runs are gathered under, where a tracker has projects or experiments
Status = Literal["finished", "interrupted", "failed"]


@dataclass(frozen=True)
class TrackedRun:
    """A run as a tracker is to know it."""

    name: str
    folder: Path
    recipe: dict[str, Any]  # plain values, as `Recipe.to_dict` gives them
    step: int = 0  # updates made before
    id: str | None = None  # by which the tracker knows the run that goes on; None: it is new


class Tracker(ABC):
    """One package; an error of its own may come out of any method, and must not stop the training.

    Making one imports the package, and raises TwinsError with the pip command where it is missing.
    """

    @abstractmethod
    def start(self, run: TrackedRun) -> str:
        """Begin a run, or go on with the one of `run.id`; returns the id to go on by."""

    @property
    @abstractmethod
    def notice(self) -> str:
        """One line, once the run has started: where its metrics go, and how they are looked at."""

    @abstractmethod
    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Metrics by name, `group/name`, after so many updates of the whole run."""

    @abstractmethod
    def image(self, step: int, name: str, path: Path) -> None:
        """A PNG file; the same name again is a later state of the same plot."""

    @abstractmethod
    def finish(self, status: Status) -> None:
        """Write out what is left, and close the run."""


def prefer_environment(**settings: str) -> None:
    """Set environment variables by which a package is configured, but for those that the user has set."""
    for name, value in settings.items():
        os.environ.setdefault(name, value)

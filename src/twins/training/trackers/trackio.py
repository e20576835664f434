"""Trackio: a database in the run's folder, or wherever its own environment variables say."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...optional_dependencies import need
from .base import PROJECT, Status, TrackedRun, Tracker, prefer_environment


class Trackio(Tracker):
    """TRACKIO_DIR, which counts as it is when the package is imported, is the run's `trackio/` unless it is set.

    Its messages, which speak of uploads even where nothing leaves the machine, are not printed.
    """

    def __init__(self) -> None:
        if find_spec("trackio") is None:
            need("trackio", extra="trackio")  # which says what to do
        self.package: Any = None
        self.run: Any = None

    def start(self, run: TrackedRun) -> str:
        prefer_environment(TRACKIO_DIR=str(run.folder.resolve() / "trackio"))
        self.package = need("trackio", extra="trackio")
        project = os.environ.get("TRACKIO_PROJECT") or PROJECT
        with quiet():
            self.run = self.package.init(
                project=project,
                name=run.id or run.name,
                config=run.recipe,
                resume="never" if run.id is None else "allow",
                embed=False,
            )
        return str(self.run.name)

    @property
    def notice(self) -> str:
        if self.run.url:
            return str(self.run.url)
        return f"TRACKIO_DIR={self.package.utils.TRACKIO_DIR} trackio show --project {self.run.project}"

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.run.log(dict(metrics), step=step)

    def image(self, step: int, name: str, path: Path) -> None:
        self.run.log({name: self.package.Image(str(path))}, step=step)

    def finish(self, status: Status) -> None:
        """Trackio knows no states of a run but running."""
        with quiet():
            self.package.finish()


def quiet() -> contextlib.AbstractContextManager[Any]:
    """Whatever is printed within goes nowhere."""
    return contextlib.redirect_stdout(io.StringIO())

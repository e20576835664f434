"""MLflow: the server that MLFLOW_TRACKING_URI names, else files in the run's folder."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...optional_dependencies import need
from .base import PROJECT, Status, TrackedRun, Tracker, prefer_environment

STATES: dict[Status, str] = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}


class MLflow(Tracker):
    """Through MlflowClient alone, so that no run of the caller's own is touched.

    Files (`mlruns/`) rather than a database, since the small `mlflow-skinny` has none; MLflow keeps them for those who
    ask for it.
    """

    def __init__(self) -> None:
        prefer_environment(MLFLOW_DISABLE_TELEMETRY="true")  # before its import
        self.package = need("mlflow", extra="mlflow")
        self.client: Any = None
        self.uri = self.id = ""

    def start(self, run: TrackedRun) -> str:
        self.uri = os.environ.get("MLFLOW_TRACKING_URI", "")
        if not self.uri:
            prefer_environment(MLFLOW_ALLOW_FILE_STORE="true")
            self.uri = (run.folder / "mlruns").resolve().as_uri()
        self.client = self.package.MlflowClient(tracking_uri=self.uri)
        if run.id is None:
            self.id = self.client.create_run(self._experiment(), run_name=run.name).info.run_id
            self._log_settings(run.recipe)
        else:
            self.id = run.id
            self.client.update_run(self.id, status="RUNNING")
            self._tag_changes(run.recipe)
        return self.id

    def _experiment(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT
        known = self.client.get_experiment_by_name(name)
        return str(known.experiment_id if known else self.client.create_experiment(name))

    def _log_settings(self, recipe: dict[str, Any]) -> None:
        params = [self.package.entities.Param(name, str(value)) for name, value in recipe.items()]
        for first in range(0, len(params), 100):  # as many as a request may hold
            self.client.log_batch(self.id, params=params[first : first + 100])

    def _tag_changes(self, recipe: dict[str, Any]) -> None:
        """Flags that were given on resuming; MLflow lets no parameter change."""
        before = self.client.get_run(self.id).data.params
        for name, value in recipe.items():
            if before.get(name) != str(value):
                self.client.set_tag(self.id, f"resumed.{name}", str(value))

    @property
    def notice(self) -> str:
        if not self.uri.startswith("file:"):
            return f"{self.uri}, run {self.id}"
        return f"MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri {self.uri}"

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        now = int(1000 * time.time())
        entries = [self.package.entities.Metric(name, value, now, step) for name, value in metrics.items()]
        self.client.log_batch(self.id, metrics=entries)

    def image(self, step: int, name: str, path: Path) -> None:
        """An artefact of the run: of each plot the latest."""
        self.client.log_artifact(self.id, str(path), "plots")

    def finish(self, status: Status) -> None:
        self.client.set_terminated(self.id, STATES[status])

"""What a run sends to its trackers, and that no tracker stops it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from ...recipes import Recipe, read_json
from ..run_folder import RunFolder
from .base import Status, TrackedRun, Tracker

REMEMBERED = "trackers.json"  # in the run's folder: the id by which each tracker knows the run

# By the names that `--track` takes.
CLASSES = {
    "tensorboard": ("tensorboard", "TensorBoard"),
    "wandb": ("wandb", "Wandb"),
    "mlflow": ("mlflow", "MLflow"),
    "trackio": ("trackio", "Trackio"),
}


def make_trackers(names: Sequence[str] | None) -> dict[str, Tracker]:
    """A tracker for each name. Raises TwinsError with the pip command where one's package is missing."""
    trackers = {}
    for name in names or ():
        module, cls = CLASSES[name]
        trackers[name] = getattr(import_module(f".{module}", __package__), cls)()
    return trackers


class Tracking:
    """The trackers of a run, all of which hear the same; one that fails is left out from there on, which is said.

    Only the main process has any; those of other ranks do nothing.
    """

    def __init__(self, trackers: Mapping[str, Tracker], folder: RunFolder) -> None:
        self.trackers = dict(trackers) if folder.main else {}
        self.folder = folder

    def start(self, recipe: Recipe, step: int, afresh: bool) -> None:
        """Begin the run `step` updates after its beginning; those of a run that is not `afresh` go on with theirs."""
        known = {} if afresh else _known_ids(self.folder)
        ids: dict[str, str] = {}

        def begin(name: str, tracker: Tracker) -> None:
            path = self.folder.path
            run = TrackedRun(path.name, path, recipe.to_dict(), step, known.get(name))
            ids[name] = tracker.start(run)
            self.folder.say(f"{name}: {tracker.notice}")

        self._for_each(begin)
        if ids:
            self.folder.write_json(REMEMBERED, known | ids)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Metrics after so many updates of the whole run."""
        self._for_each(lambda _, tracker: tracker.log(step, metrics))

    def images(self, step: int, files: Iterable[str]) -> None:
        """Those of these files of the run's folder that are there and are images."""
        paths = [self.folder / file for file in files if file.endswith(".png")]
        self._for_each(lambda _, tracker: _send_images(tracker, step, filter(Path.is_file, paths)))

    def finish(self, status: Status) -> None:
        self._for_each(lambda _, tracker: tracker.finish(status))

    def _for_each(self, call: Callable[[str, Tracker], None]) -> None:
        for name, tracker in list(self.trackers.items()):
            try:
                call(name, tracker)
            except Exception as error:
                del self.trackers[name]
                first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
                self.folder.say(f"{name} failed and is left out from here on: {first_line}")


def _send_images(tracker: Tracker, step: int, paths: Iterable[Path]) -> None:
    for path in paths:
        tracker.image(step, f"plots/{path.stem}", path)


def _known_ids(folder: RunFolder) -> dict[str, str]:
    path = folder / REMEMBERED
    return {name: str(known) for name, known in read_json(path).items()} if path.exists() else {}


def metrics_of_epoch(record: Mapping[str, Any], val_prefix: str) -> dict[str, float]:
    """An epoch's line of `log.txt` as trackers group metrics: `train/loss`, `val/acc1`, `epoch` ..."""
    metrics = {}
    for name, value in record.items():
        for prefix in ("train_", val_prefix):
            if name.startswith(prefix):
                metrics[f"{prefix.rstrip('_')}/{name.removeprefix(prefix)}"] = value
    return metrics | {
        "epoch": record["epoch"],
        "run/seconds": record["time"],
        "run/images_per_second": record["images_per_second"],
    }


def metrics_of_updates(row: Mapping[str, Any]) -> dict[str, float]:
    """A row of `steps.csv`: `steps/train_loss`, `steps/train_lr` ..."""
    return {f"steps/{name}": value for name, value in row.items() if name not in ("epoch", "step")}

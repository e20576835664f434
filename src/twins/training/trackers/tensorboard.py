"""TensorBoard: event files in the run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...optional_dependencies import need
from .base import Status, TrackedRun, Tracker


class TensorBoard(Tracker):
    """Writes `tensorboard/` through PyTorch's SummaryWriter; settings stand under HPARAMS."""

    def __init__(self) -> None:
        need("tensorboard", extra="tensorboard")
        from torch.utils import tensorboard

        self.package = tensorboard
        self.writer: Any = None

    def start(self, run: TrackedRun) -> str:
        """Events after `run.step`, which a run that crashed may have left, are hidden from here on."""
        folder = run.folder / "tensorboard"
        first_hidden = 0 if run.id is None else run.step + 1
        self.writer = self.package.SummaryWriter(str(folder), purge_step=first_hidden)
        if run.id is None:
            self._write_settings(run.recipe)
        return folder.name

    def _write_settings(self, recipe: dict[str, Any]) -> None:
        """The two events of `SummaryWriter.add_hparams` that hold settings, without the folder that it would make."""
        from torch.utils.tensorboard.summary import hparams

        plain = {k: v if isinstance(v, bool | int | float | str) else str(v) for k, v in recipe.items()}
        experiment, start, _ = hparams(plain, {})
        for event in (experiment, start):
            self.writer.file_writer.add_summary(event)

    @property
    def notice(self) -> str:
        return f"tensorboard --logdir {self.writer.log_dir}"

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def image(self, step: int, name: str, path: Path) -> None:
        import numpy as np
        from PIL import Image

        with Image.open(path) as image:
            self.writer.add_image(name, np.asarray(image.convert("RGB")), step, dataformats="HWC")

    def finish(self, status: Status) -> None:
        """TensorBoard knows no states of a run."""
        self.writer.close()

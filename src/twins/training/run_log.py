"""What a run prints and writes down: at its start, every few steps, after each epoch, and at its end."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from .. import ops
from ..checkpoints.resume import TrainingState
from ..plots.curves import draw_curves
from ..progress import clock
from ..tasks import Task
from .mixed_precision import amp_dtype
from .rest_of_epoch import RestOfEpoch
from .run_folder import RunFolder
from .setup import Setup
from .totals import EpochTotals

Announce = Callable[[RunFolder, Task, dict[str, Any], TrainingState], None]


def introduce(setup: Setup, state: TrainingState) -> None:
    """Say what is trained on what, where, and by which backend."""
    recipe, device, say = setup.recipe, setup.world.device, setup.folder.say
    parameters = sum(p.numel() for p in state.model.parameters())
    say(f"{recipe.task}: {recipe.model}, {parameters / 1e6:.1f} M parameters, {len(setup.task.classes)} classes")
    say(f"data: {len(setup.training)} training images, {len(setup.val)} validation images ({recipe.data})")
    for note in setup.task.notes:
        say(note)
    say(f"on {setup.world.describe()}; sublayers as {ops.backend(device.type, amp_dtype(recipe, device))}")
    if state.model.load_report is not None:
        say(str(state.model.load_report))
    for line in setup.resumption:
        say(line)
    say(f"writing to {setup.folder.path}")


class StepLog:
    """Writes a row of `steps.csv` every so many updates, for which alone an epoch's totals are read while it lasts.

    Where no bar shows how an epoch gets on, it prints such a row too, once a minute.
    """

    def __init__(self, folder: RunFolder, interval: int) -> None:
        self.folder, self.interval = folder, interval
        self.updates = 0  # of the epoch, when it ends
        self.printed = self.written = time.time()
        self.loss = self.images = 0.0  # of the epoch, when the last row was written

    def begin_epoch(self, totals: EpochTotals, updates: int) -> None:
        """An epoch of so many updates begins, or the rest of one."""
        self.updates = updates
        self.loss, self.images = totals.read()
        self.written = time.time()

    def after_step(self, epoch: int, step: int, lr: float, totals: EpochTotals) -> None:
        """`step` updates of the epoch are done, the last of them at learning rate `lr`."""
        if step % self.interval:
            return
        (loss, images), now = totals.read(), time.time()
        count = images - self.images
        row = {
            "epoch": epoch,
            "step": step,
            "train_loss": (loss - self.loss) / count,
            "train_lr": lr,
            "images_per_second": round(count / (now - self.written), 1),
        }
        self.loss, self.images, self.written = loss, images, now
        self.folder.add_row("steps.csv", row)
        if not sys.stdout.isatty() and now - self.printed > 60:
            self.printed = now
            self.folder.say(
                f"epoch {epoch:3d}  step {step} of {self.updates}  loss {row['train_loss']:.3f}  "
                f"lr {lr:.2e}  {row['images_per_second']:.0f} images/s"
            )


def epoch_record(
    setup: Setup, state: TrainingState, totals: EpochTotals, metrics: dict[str, float], seconds: float, left: float
) -> dict[str, Any]:
    """An epoch's line of `log.txt`; it took `seconds`, and the run has some `left`."""
    loss, images = totals.read()
    return {
        "epoch": state.epoch - 1,
        "time": round(seconds, 3),
        "train_lr": totals.lr,
        "train_loss": loss / images,
        **{f"{setup.folder.val_prefix}{name}": value for name, value in metrics.items()},
        "n_parameters": sum(p.numel() for p in state.model.parameters() if p.requires_grad),
        "images_per_second": round(images / seconds, 1),
        "time_left": round(left),
    }


def announce_epoch(folder: RunFolder, task: Task, record: dict[str, Any], state: TrainingState) -> None:
    """Print a line for an epoch."""
    prefix = folder.val_prefix
    metrics = "  ".join(f"{title} {record[prefix + name]:.{digits}f}" for name, title, digits in task.columns)
    folder.say(
        f"epoch {record['epoch']:3d}  loss {record['train_loss']:.3f}  {metrics}  lr {record['train_lr']:.2e}  "
        f"{record['images_per_second']:.0f} images/s  {clock(record['time_left'])} left"
    )


def say_how_to_resume(setup: Setup, state: TrainingState) -> None:
    folder = setup.folder
    updates = RestOfEpoch.of(setup.sampler, state).updates.stop
    folder.say(f"stopped in epoch {state.epoch} after {state.step} of {updates} steps; to go on:")
    folder.say(f"  twins train --resume {folder / 'checkpoint.pth'}")


def conclude(setup: Setup, best: dict[str, Any], seconds: float) -> None:
    """Curves, a summary, and what to type next; every rank has to call it."""
    folder, say = setup.folder, setup.folder.say
    unreadable = setup.unreadable.over_all_ranks()
    if not setup.world.is_main:
        return
    history = folder.history()
    draw_curves(history, setup.task.columns, setup.task.best_metric, folder / "curves.png")
    last, key = history[-1], folder.val_prefix + best["metric"]
    summary = {"best": best, "last": last, "seconds": round(seconds, 1), "unreadable_images": len(unreadable)}
    folder.write_json("summary.json", summary)
    say()
    say(f"best   {key} {best['value']:.3f} in epoch {best['epoch']}")
    say(f"last   {key} {last[key]:.3f} in epoch {last['epoch']}")
    say(f"time   {clock(seconds)}, {last['images_per_second']:.0f} images/s in the last epoch")
    if unreadable:
        say(f"left out {len(unreadable)} unreadable images: {', '.join(unreadable[:3])}")
    say(f"next   twins eval --weights {folder / 'checkpoint_best.pth'}")
    say(f"look   {folder / 'curves.png'}, {', '.join(setup.task.plots)}")

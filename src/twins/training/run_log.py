"""What a run prints and writes down: at its start, after each epoch, and at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .. import ops
from ..checkpoints.resume import TrainingState
from ..plots.curves import draw_curves
from ..progress import clock, per_second, rounded_speed
from ..recipes import ClassifyRecipe, Recipe
from ..report.run_report import REPORT
from ..tasks import Task
from .best_plots import failed_plots_said
from .image_size_note import enlargement
from .mixed_precision import amp_dtype
from .report_writing import ReportWriter
from .rest_of_epoch import RestOfEpoch
from .run_folder import BEST, NEWEST, RunFolder
from .setup import Setup
from .setup_file import peak_memory_mb, setup_record
from .totals import EpochTotals

Announce = Callable[[RunFolder, Task, dict[str, Any], TrainingState], None]


def introduce(setup: Setup, state: TrainingState) -> None:
    """Say what is trained on what, where, and by which backend."""
    recipe, device, say = setup.recipe, setup.world.device, setup.folder.say
    parameters = sum(p.numel() for p in state.model.parameters())
    say(f"{recipe.task}: {recipe.model}, {parameters / 1e6:.1f} M parameters, {len(setup.task.classes)} classes")
    say(f"data: {len(setup.training)} training images, {len(setup.val)} validation images ({recipe.data})")
    notes = [*setup.task.notes, *notes_on_training(setup)]
    for note in notes:
        say(note)
    images = {"training": len(setup.training), "validation": len(setup.val)}
    setup.folder.write_json("setup.json", setup_record(setup.task, recipe, state.model, setup.world, images, notes))
    say(f"on {setup.world.describe()}; sublayers as {ops.backend(device.type, amp_dtype(recipe, device))}")
    if state.model.load_report is not None:
        say(str(state.model.load_report))
    for line in setup.resumption:
        say(line)
    say(f"writing to {setup.folder.path}")


def notes_on_training(setup: Setup) -> Iterator[str]:
    """What surprises people later on."""
    note = enlargement(setup.recipe, setup.training)
    if note is not None:
        yield note
    if mixes_images(setup.recipe):
        yield "the training loss is of augmented and mixed images: expect it above the validation loss"


def mixes_images(recipe: Recipe) -> bool:
    """Whether labels are mixtures, which no network predicts as well as labels of one class."""
    return isinstance(recipe, ClassifyRecipe) and bool(recipe.mixup or recipe.cutmix) and recipe.mixup_prob > 0


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
        "images_per_second": rounded_speed(images / seconds),
        "time_left": round(left),
    }


def announce_epoch(folder: RunFolder, task: Task, record: dict[str, Any], state: TrainingState) -> None:
    """Print a line for an epoch."""
    prefix = folder.val_prefix
    metrics = "  ".join(f"{title} {record[prefix + name]:.{digits}f}" for name, title, digits in task.columns)
    folder.say(
        f"epoch {record['epoch']:3d}  loss {record['train_loss']:.3f}  {metrics}  lr {record['train_lr']:.2e}  "
        f"{per_second(record['images_per_second'])} images/s  {clock(record['time_left'])} left"
    )


def say_how_to_resume(setup: Setup, state: TrainingState, saved: bool) -> None:
    """`saved`: whether the state is in the newest checkpoint; if not, that knows less, if there is one."""
    folder, newest = setup.folder, setup.folder / NEWEST
    updates = RestOfEpoch.of(setup.sampler, state).updates.stop
    stopped = f"stopped in epoch {state.epoch} after {state.step} of {updates} steps"
    if not saved:
        stopped += ", which could not be saved: it is spread over ranks that did not stop"
    if saved or newest.exists():
        folder.say(f"{stopped}; to go on{'' if saved else ' from the last checkpoint'}:")
        folder.say(f"  twins train --resume {newest}")
    else:
        folder.say(f"{stopped}; nothing is saved yet")


def words_without_saving(setup: Setup) -> str:
    """What a run says that has to leave in the midst of an update; "" on all ranks but the main one."""
    folder, grace = setup.folder, setup.recipe.grace
    if not folder.main:
        return ""
    known = folder / NEWEST
    rest = f"to go on from the last: twins train --resume {known}" if known.exists() else "nothing is saved yet"
    return f"twins: no update was done within --grace {grace} of the signal; {rest}"


def conclude(setup: Setup, best: dict[str, Any], seconds: float, findings: list[str], report: ReportWriter) -> None:
    """Curves, a summary, the report, what was found, and what to type next; every rank has to call it."""
    folder, say = setup.folder, setup.folder.say
    unreadable = setup.unreadable.over_all_ranks()
    if not setup.world.is_main:
        return
    history = folder.history()
    training = "training, of mixed images" if mixes_images(setup.recipe) else "training"
    with failed_plots_said(folder):
        draw_curves(history, setup.task.columns, setup.task.best_metric, folder / "curves.png", training)
    last, key = history[-1], folder.val_prefix + best["metric"]
    summary = {"best": best, "last": last, "seconds": round(seconds, 1), "unreadable_images": len(unreadable)}
    summary |= {"left_out": unreadable, "peak_memory_mb": peak_memory_mb(setup.world.device)}
    folder.write_json("summary.json", summary)
    reports = [folder / REPORT] if report.write() else []
    say()
    say(f"best   {key} {best['value']:.3f} in epoch {best['epoch']}")
    for finding in findings:
        say(f"       {finding}")
    say(f"last   {key} {last[key]:.3f} in epoch {last['epoch']}")
    say(f"time   {clock(seconds)}, {per_second(last['images_per_second'])} images/s in the last epoch")
    if unreadable:
        say(f"left out {len(unreadable)} unreadable images: {', '.join(unreadable[:3])}")
    say(f"next   twins eval --weights {folder / BEST}")
    say(f"look   {', '.join(map(str, [*reports, folder / 'curves.png', *setup.task.plots]))}")

"""The one loop that trains every task."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..checkpoints.info import CheckpointInfo
from ..checkpoints.resume import TrainingState
from ..data.loading import Batch
from ..data.randomness import seed_of
from ..data.waiting import StalledError
from ..distributed.activity import this_process
from ..distributed.sharding import gathered
from ..distributed.world import init_distributed
from ..errors import TwinsError
from ..progress import Progress
from ..recipes import Recipe
from ..recipes.durations import seconds_of
from . import optim
from .batches import BatchStream
from .best_plots import FIRST_BATCH, BestPlots, failed_plots_said
from .interruption import Interruption, StoppedError, interruptible
from .malloc_settings import freed_memory_kept
from .mixed_precision import autocast
from .report_writing import ReportWriter
from .rest_of_epoch import RestOfEpoch
from .run_log import (
    Announce,
    announce_epoch,
    conclude,
    epoch_record,
    introduce,
    say_how_to_resume,
    words_without_saving,
)
from .saving import Saving
from .setup import Setup, set_up
from .step_log import StepLog
from .totals import EpochTotals, totals_dtype
from .trackers.base import Status
from .trackers.tracking import metrics_of_epoch
from .update_report import UnreadReports, UpdatePosition, UpdateReport
from .validation import validate


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    folder: Path
    best: dict[str, Any]  # metric, value, epoch
    finished: bool  # False: interrupted, and to be resumed
    status: int = 0  # for the shell: 0, or that of the signal which interrupted it


def fit(
    recipe: Recipe,
    folder: Path | None = None,
    resume: Path | CheckpointInfo | None = None,
    start_epoch: int = 0,
    announce: Announce = announce_epoch,
    val_prefix: str = "val_",
) -> Outcome:
    """Train by a recipe, into `folder` (a new one under the recipe's output by default), or go on from `resume`,
    a checkpoint file or what `read_info` made of it.

    Without `resume` epochs count from `start_epoch`. `announce(folder, task, record, state)` reports each epoch, whose
    record is its line of `log.txt`: there the name of a validation metric begins with `val_prefix`.
    Raises TwinsError for whatever the user can fix: data, device, folder, weights, a loss that is no longer finite.
    Ctrl-C, SIGTERM or SIGUSR1 saves and returns.
    """
    with (
        init_distributed(recipe.device, recipe.rank_timeout) as world,
        interruptible(seconds_of(recipe.grace), alone=world.size == 1) as interruption,
        freed_memory_kept(world.device),
        contextlib.ExitStack() as held,
    ):
        try:
            setup, state = set_up(recipe.resolve(world.size), world, folder, resume, start_epoch, val_prefix, held)
            introduce(setup, state)
            finished = run_tracked(setup, state, interruption, announce)
        except torch.OutOfMemoryError as error:
            raise TwinsError(
                f"out of memory on {world.device}: try half the --batch-size with twice the --grad-accum-steps, "
                "--amp, or --grad-checkpointing"
            ) from error
    return Outcome(setup.folder.path, state.best, finished, 0 if finished else interruption.status)


def run_tracked(setup: Setup, state: TrainingState, interruption: Interruption, announce: Announce) -> bool:
    """`run_epochs` beside the recipe's trackers, which learn how it ended."""
    step = state.epoch * setup.updates_per_epoch + state.step
    setup.tracking.start(setup.recipe, step, afresh=not setup.resumption)
    status: Status = "failed"
    try:
        finished = run_epochs(setup, state, interruption, announce)
        status = "finished" if finished else "interrupted"
    finally:
        setup.tracking.finish(status)
    return finished


def run_epochs(setup: Setup, state: TrainingState, interruption: Interruption, announce: Announce) -> bool:
    """Train and validate until the recipe's last epoch, or an early stop; False if the run was interrupted."""
    recipe, device = setup.recipe, setup.world.device
    started, first = time.time(), state.epoch
    log = StepLog(setup)
    plots, report = BestPlots(setup.folder, setup.tracking), ReportWriter(setup.folder)
    updates = setup.updates_per_epoch
    interruption.last_words = partial(words_without_saving, setup)
    with Saving(setup, state) as saving, batch_stream(setup, interruption) as batches:
        while state.epoch < recipe.epochs and not out_of_patience(recipe, state):
            epoch, epoch_started = state.epoch, time.time()
            totals = EpochTotals.begin(optim.current_lr(state.optimizer), device, saved=state.totals)
            try:
                train_epoch(setup, state, totals, log, batches, saving)
                metrics = validate_epoch(setup, state, interruption)
            except (StoppedError, StalledError) as error:
                saved = saving.within_epoch(totals, log, alone=isinstance(error, StalledError))
                saving.wait()
                interruption.done()
                say_how_to_resume(setup, state, saved)
                if isinstance(error, StalledError):
                    raise
                plots.draw()
                report.write(interrupted=True)
                return False
            better = close_epoch(setup, state, metrics)
            now = time.time()
            left = (now - started) / (epoch + 1 - first) * (recipe.epochs - epoch - 1)
            record = epoch_record(setup, state, totals, metrics, now - epoch_started, left)
            setup.folder.log(record)  # before the checkpoint, which knows of it
            saving.after_epoch(better)
            if better:
                plots.of_better_epoch(setup.task, step=state.epoch * updates)
            setup.tracking.log(state.epoch * updates, metrics_of_epoch(record, setup.folder.val_prefix))
            announce(setup.folder, setup.task, record, state)
            report.after_epoch()
    if out_of_patience(recipe, state):
        setup.folder.say(f"stopping early: nothing better for {recipe.patience} epochs")
    plots.draw()
    conclude(setup, state.best, time.time() - started, plots.findings, report)
    return True


def batch_stream(setup: Setup, interruption: Interruption) -> BatchStream:
    """The training batches of this rank."""
    timeout = seconds_of(setup.recipe.read_timeout)
    return BatchStream(setup.batches, setup.sampler, interruption, setup.folder.say, timeout)


def out_of_patience(recipe: Recipe, state: TrainingState) -> bool:
    """Whether the best epoch is so long ago that the run stops early."""
    return recipe.patience is not None and bool(state.best) and state.epoch - 1 - state.best["epoch"] >= recipe.patience


def train_epoch(
    setup: Setup, state: TrainingState, totals: EpochTotals, log: StepLog, batches: BatchStream, saving: Saving
) -> None:
    """Go through the rest of an epoch. Raises StoppedError if it is interrupted, after a whole number of updates.

    The host reads an update's report before the update changes the weights, or, where the optimiser can leave out a
    step by itself, one update later, so that it never waits for a GPU that has nothing more to do.
    """
    recipe, world, epoch = setup.recipe, setup.world, state.epoch
    rest = RestOfEpoch.of(setup.sampler, state)
    setup.network.train()
    for module in setup.frozen:
        module.eval()
    batches.begin(epoch, state.samples, state.step)
    log.begin_epoch(totals, rest.updates, saved=state.totals)
    ahead = 1 if steps_are_left_out_on_the_device(state.optimizer, world.device) else 0
    unread = UnreadReports(setup.training.images.name)
    progress = Progress(f"epoch {epoch}", rest.left, world.is_main, lines=False)
    for update in progress.over(rest.updates):
        this_process.at(f"epoch {epoch}, step {update}")
        try:
            parts = [next_batch(setup, batches, epoch, update, part) for part in range(recipe.grad_accum_steps)]
        except StoppedError:
            unread.read_all()
            raise
        log.before_step(parts)
        torch.manual_seed(seed_of("network", recipe.seed, epoch, update, world.rank))
        loss = backward(setup, state.scaler, parts)
        lr = optim.current_lr(state.optimizer)
        position, stop = UpdatePosition(epoch, update, lr), batches.interruption.is_set()
        report = UpdateReport(position, loss, parts, stop, saving.due(), world)
        totals.add(report.sums)
        unread.add(report, at_most=ahead)
        progress.note = unread.note
        take_step(state, recipe.clip_grad, leave_out=totals.any_not_finite if ahead else None)
        optim.after_update(state.schedule, epoch * rest.whole + rest.position(state.step))
        log.after_step(epoch, state.step, lr, totals)
        if unread.stop:
            break
        if unread.save:
            unread.read_all()
            saving.within_epoch(totals, log)
            unread.save = False
    unread.read_all()
    if unread.stop:
        raise StoppedError


def validate_epoch(setup: Setup, state: TrainingState, interruption: Interruption) -> dict[str, float]:
    """The metrics of the epoch. Raises StoppedError if that is interrupted, of which other ranks would not know."""

    def between_batches() -> None:
        if interruption.alone and interruption.is_set():
            raise StoppedError

    model, val, world = state.evaluated_model, setup.val, setup.world
    with gathered(model):
        return validate(setup.task, model, val, setup.recipe, world, setup.unreadable, between_batches=between_batches)


def next_batch(setup: Setup, batches: BatchStream, epoch: int, update: int, part: int) -> Batch:
    """The next batch of this rank, mixed, on its device."""
    batch = batches.next()
    setup.unreadable.note(batch)
    if not len(batch):
        raise TwinsError(f"{setup.recipe.data}: none of the training images can be read")
    batch = setup.task.mix(batch.to(setup.world.device), epoch, update, setup.world.rank, part)
    if epoch == update == part == 0 and setup.world.is_main:
        with failed_plots_said(setup.folder):
            setup.task.draw_batch(batch, setup.folder.path)
        setup.tracking.images(0, (FIRST_BATCH,))
    return batch


def backward(setup: Setup, scaler: torch.amp.GradScaler, parts: list[Batch]) -> Tensor:
    """Gradients of the mean loss over the parts of a batch, averaged over ranks; returns this rank's mean loss, ()."""
    device = setup.world.device
    total = torch.zeros((), dtype=totals_dtype(device), device=device)
    for index, batch in enumerate(parts):
        last = index == len(parts) - 1
        # Of sharded networks no rank keeps a whole gradient: they add up the parts' shares.
        waiting = contextlib.nullcontext() if last else getattr(setup.network, "no_sync", contextlib.nullcontext)()
        with waiting:
            with autocast(setup.recipe, device):
                loss = torch.stack(list(setup.task.losses(setup.network, batch).values())).sum() / len(parts)
            scaler.scale(loss).backward()
        total += loss.detach()
    return total


def steps_are_left_out_on_the_device(optimizer: torch.optim.Optimizer, device: torch.device) -> bool:
    """Whether `take_step` may be asked for a step before the host knows that the loss is finite.

    PyTorch's fused optimisers can: Adam and AdamW, which all published recipes use. On a CPU there is nothing to gain.
    """
    return device.type == "cuda" and getattr(optimizer, "_step_supports_amp_scaling", False)


def take_step(state: TrainingState, clip_grad: float | None, leave_out: Tensor | None = None) -> None:
    """One step of the optimiser and of the moving average.

    `leave_out`, (), float32, is for optimisers that can leave out a step on the device: where it is 1, weights and
    the optimiser's state stay as they are.
    """
    optimizer, scaler = state.optimizer, state.scaler
    if leave_out is not None and scaler.is_enabled():  # the scaler looks for gradients that are not finite
        gradient = next(p.grad for p in state.model.parameters() if p.grad is not None)
        gradient.masked_fill_(leave_out > 0, float("nan"))
    elif leave_out is not None:
        optimizer.found_inf = leave_out  # type: ignore[attr-defined]  # as a GradScaler says it
    scaler.unscale_(optimizer)
    if clip_grad:
        nn.utils.clip_grad_norm_(state.model.parameters(), clip_grad)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
    if state.ema is not None:
        state.ema.update(state.model)
    state.step += 1
    state.samples += state.global_batch


def close_epoch(setup: Setup, state: TrainingState, metrics: dict[str, float]) -> bool:
    """Step the schedule and remember the best epoch; returns whether this epoch is the best."""
    epoch, name = state.epoch, setup.task.best_metric
    optim.after_epoch(setup.recipe, state.schedule, epoch, metrics[name])
    state.epoch, state.step, state.samples, state.totals = epoch + 1, 0, 0, {}
    better = not state.best or metrics[name] > state.best["value"]
    if better:
        state.best = {"metric": name, "value": metrics[name], "epoch": epoch}
    return better

"""The one loop that trains every task."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .. import ops
from ..checkpoints.info import describe
from ..checkpoints.resume import TrainingState, read_training_checkpoint, save_checkpoint
from ..class_names import check_classes
from ..data.loading import Batch, ImageDataset, UnreadableImages, make_loader
from ..data.randomness import seed_of
from ..data.sampling import EvaluationSampler, TrainingSampler
from ..distributed.collectives import all_gather_object, all_sum, from_main
from ..distributed.world import World, init_distributed, wrap_ddp
from ..errors import TwinsError
from ..optional_dependencies import need
from ..plots.curves import draw_curves
from ..progress import Progress, clock
from ..recipes import Recipe
from ..tasks import Task, make_task
from . import optim
from .cpu_memory import freed_memory_kept
from .mixed_precision import amp_dtype, autocast
from .run_folder import Run, new_run_folder, provenance

Announce = Callable[[Run, Task, dict[str, Any], TrainingState], None]


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    folder: Path
    best: dict[str, Any]
    finished: bool  # False: interrupted, and to be resumed


def fit(
    recipe: Recipe,
    folder: Path | None = None,
    resume: Path | None = None,
    start_epoch: int = 0,
    announce: Announce | None = None,
) -> Outcome:
    """Train by a recipe, into `folder` (a new one under the recipe's output by default), or go on from `resume`.

    Without `resume` epochs count from `start_epoch`. `announce(run, task, record, state)` tells of each epoch.
    Raises TwinsError for whatever the user can fix: data, device, folder, weights, a loss that is no longer finite.
    Ctrl-C or SIGTERM saves and returns.
    """
    with init_distributed(recipe.device) as world, interruptible() as interrupted, freed_memory_kept(world.device):
        try:
            loop = Loop(recipe.resolve(world.size), world, folder, resume, start_epoch, interrupted)
            return loop.run_epochs(announce or announce_epoch)
        except torch.OutOfMemoryError as error:
            raise TwinsError(
                f"out of memory on {world.device}: try half the --batch-size with twice the --grad-accum-steps, "
                "--amp, or --grad-checkpointing"
            ) from error


class Loop:
    """A run under way: everything that epochs and updates share."""

    def __init__(
        self,
        recipe: Recipe,
        world: World,
        folder: Path | None,
        resume: Path | None,
        start_epoch: int,
        interrupted: threading.Event,
    ) -> None:
        self.recipe, self.world, self.interrupted = recipe, world, interrupted
        checkpoint = None if resume is None else read_training_checkpoint(resume)

        self.task = make_task(recipe)
        training, self.val = self.task.datasets()
        assert training is not None
        if checkpoint is not None and (info := describe(checkpoint, str(resume))).classes_named:
            check_classes(self.task.classes, info.classes, recipe.data)
        self.training: ImageDataset = training
        self.unreadable = UnreadableImages(recipe.bad_images)
        self.sampler, self.batches = self.training_batches()
        self.updates_per_epoch = len(self.batches) // recipe.grad_accum_steps

        torch.manual_seed(seed_of("initial weights", recipe.seed))
        model: Any = self.task.build().to(world.device)
        model.set_grad_checkpointing(recipe.grad_checkpointing)
        try:
            self.frozen = model.freeze_stages(recipe.freeze_stages)
        except ValueError as error:
            raise TwinsError(f"--freeze-stages: {error}") from error
        optimizer = optim.make_optimizer(recipe, model)
        scaled = amp_dtype(recipe, world.device) is torch.float16
        self.state = TrainingState(
            model=model,
            optimizer=optimizer,
            schedule=optim.make_schedule(recipe, optimizer, self.updates_per_epoch),
            scaler=torch.amp.GradScaler(world.device.type, enabled=scaled),
            ema=need("timm.utils", extra="train").ModelEmaV3(model, recipe.model_ema_decay)
            if recipe.model_ema
            else None,
        )
        self.state.epoch = start_epoch
        if checkpoint is not None:
            self.state.restore(checkpoint, source=str(resume))
        if self.state.epoch >= recipe.epochs:
            raise TwinsError(
                f"{self.state.epoch} epochs are done and --epochs is {recipe.epochs}: pass a larger --epochs"
            )
        if self.state.epoch or self.state.step:
            optim.position(recipe, self.state.schedule, self.state.epoch, self.state.step, self.updates_per_epoch)
        self.network: Any = wrap_ddp(model, world)
        if recipe.torchcompile:
            self.network = torch.compile(self.network)

        self.run = Run(from_main(folder or new_run_folder(recipe)), main=world.is_main)
        self.run.create(afresh=resume is None)
        self.run.write_json("recipe.json", {"recipe": recipe.to_dict(), "ran_on": provenance()})
        val = [self.val.images.name(i) for i in range(len(self.val))]
        self.run.write_json("split.json", {"classes": self.task.classes, "val": val})

    def run_epochs(self, announce: Announce) -> Outcome:
        self.introduce()
        state, recipe = self.state, self.recipe
        started, first = time.time(), state.epoch
        self.last_said = started
        for epoch in range(first, recipe.epochs):
            epoch_started = time.time()
            if not self.train_epoch(epoch):
                self.save("checkpoint.pth")
                self.run.say(
                    f"stopped in epoch {epoch} after {state.step} of {self.updates_per_epoch} steps; to go on:"
                )
                self.run.say(f"  twins train --resume {self.run / 'checkpoint.pth'}")
                return Outcome(self.run.folder, state.best, finished=False)
            sums = state.under_way
            metrics = self.evaluate()
            self.close_epoch(epoch, metrics)
            record = {
                "epoch": epoch,
                "time": round(time.time() - epoch_started, 3),
                "train_lr": sums["lr"],
                "train_loss": sums["loss"] / sums["count"],
                **{f"test_{name}": value for name, value in metrics.items()},
                "n_parameters": sum(p.numel() for p in state.model.parameters() if p.requires_grad),
                "images_per_second": round(sums["count"] / (time.time() - epoch_started), 1),
                "time_left": round((time.time() - started) / (epoch + 1 - first) * (recipe.epochs - epoch - 1)),
            }
            self.run.log(record)
            announce(self.run, self.task, record, state)
            if recipe.patience is not None and epoch - state.best["epoch"] >= recipe.patience:
                self.run.say(f"stopping early: nothing better for {recipe.patience} epochs")
                break
        self.conclude(time.time() - started)
        return Outcome(self.run.folder, state.best, finished=True)

    def train_epoch(self, epoch: int) -> bool:
        """Go through the rest of an epoch; False if it was interrupted, after a whole number of updates."""
        state, recipe = self.state, self.recipe
        self.network.train()
        for module in self.frozen:
            module.eval()
        assert recipe.batch_size is not None
        self.sampler.set_epoch(epoch, skip=state.step * recipe.grad_accum_steps * recipe.batch_size)
        state.under_way.setdefault("lr", optim.current_rate(state.optimizer))
        queue = iter(self.batches)
        sums = state.under_way
        self.logged = {"loss": sums.get("loss", 0.0), "count": sums.get("count", 0.0), "time": time.time()}
        progress = Progress(f"epoch {epoch}", self.updates_per_epoch - state.step, self.world.is_main)
        for update in progress.over(range(state.step, self.updates_per_epoch)):
            parts = [self.next_batch(queue, epoch, update, part) for part in range(recipe.grad_accum_steps)]
            torch.manual_seed(seed_of("network", recipe.seed, epoch, update, self.world.rank))
            loss = self.backward(parts)
            stop = self.agree(loss, parts, epoch)
            self.take_step()
            rate = optim.current_rate(state.optimizer)
            optim.after_update(state.schedule, epoch * self.updates_per_epoch + state.step)
            progress.note = f"loss {loss:.3f}"
            if state.step % recipe.log_interval == 0:
                self.log_steps(epoch, rate)
            if stop:
                return False
        return True

    def next_batch(self, queue: Iterator[Batch], epoch: int, update: int, part: int) -> Batch:
        batch = next(queue)
        self.unreadable.note(batch)
        if not len(batch):
            raise TwinsError(f"{self.recipe.data}: none of the training images can be read")
        batch = self.task.mix(batch.to(self.world.device), epoch, update, self.world.rank, part)
        if epoch == update == part == 0 and self.world.is_main:
            self.task.draw_batch(batch, self.run.folder)
        return batch

    def backward(self, parts: list[Batch]) -> float:
        """Gradients of the mean loss over the parts of a batch, averaged over ranks; returns this rank's loss."""
        total = 0.0
        for place, batch in enumerate(parts):
            last = place == len(parts) - 1
            waiting = contextlib.nullcontext() if last or self.world.size == 1 else self.network.no_sync()
            with waiting:
                with autocast(self.recipe, self.world.device):
                    loss = torch.stack(list(self.task.losses(self.network, batch).values())).sum() / len(parts)
                self.state.scaler.scale(loss).backward()
            total += loss.item()
        return total

    def agree(self, loss: float, parts: list[Batch], epoch: int) -> bool:
        """Add the losses of all ranks up, and learn whether any was told to stop.

        Raises TwinsError on every rank if any rank's loss is not finite, before the weights change.
        """
        count = sum(len(batch) for batch in parts)
        finite = torch.isfinite(torch.tensor(loss)).item()
        mine = [loss * count if finite else 0.0, count, not finite, self.interrupted.is_set()]
        sums = all_sum(torch.tensor(mine, dtype=torch.float32, device=self.world.collective_device)).tolist()
        if sums[2]:
            names = [self.training.images.name(i) for batch in parts for i in batch.indices]
            culprits = [name for found in all_gather_object([] if finite else names) for name in found]
            rate = optim.current_rate(self.state.optimizer)
            raise TwinsError(
                f"loss is not finite in epoch {epoch}, step {self.state.step}, at learning rate {rate:.3g}; "
                f"try a lower --lr or --clip-grad; the batch: {', '.join(culprits)}"
            )
        for key, value in (("loss", sums[0]), ("count", sums[1])):
            self.state.under_way[key] = self.state.under_way.get(key, 0.0) + value
        return bool(sums[3])

    def take_step(self) -> None:
        state, recipe = self.state, self.recipe
        state.scaler.unscale_(state.optimizer)
        if recipe.clip_grad:
            nn.utils.clip_grad_norm_(state.model.parameters(), recipe.clip_grad)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        state.optimizer.zero_grad(set_to_none=True)
        if state.ema is not None:
            state.ema.update(state.model)
        state.step += 1

    def log_steps(self, epoch: int, rate: float) -> None:
        """Write down the last updates, of which the last ran at `rate`.

        Say it too, once a minute, where no bar shows how an epoch gets on.
        """
        sums, now, state = self.state.under_way, time.time(), self.state
        before = self.logged
        count = sums["count"] - before["count"]
        record = {
            "epoch": epoch,
            "step": state.step,
            "train_loss": (sums["loss"] - before["loss"]) / count,
            "train_lr": rate,
            "images_per_second": round(count / (now - before["time"]), 1),
        }
        self.run.add_row("steps.csv", record)
        self.logged = {"loss": sums["loss"], "count": sums["count"], "time": now}
        if not sys.stdout.isatty() and now - self.last_said > 60:
            self.last_said = now
            self.run.say(
                f"epoch {epoch:3d}  step {state.step} of {self.updates_per_epoch}  loss {record['train_loss']:.3f}  "
                f"lr {record['train_lr']:.2e}  {record['images_per_second']:.0f} images/s"
            )

    def evaluate(self) -> dict[str, float]:
        """The validation metrics of the weights that will be kept: the moving average where there is one."""
        model = self.state.model if self.state.ema is None else self.state.ema.module
        return validate(self.task, model, self.val, self.recipe, self.world, self.unreadable)

    def close_epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        """Step the schedule, remember the best, and save both checkpoints."""
        state = self.state
        name, value = next(iter(metrics.items()))
        optim.after_epoch(self.recipe, state.schedule, epoch, value)
        state.epoch, state.step, state.under_way = epoch + 1, 0, {}
        better = not state.best or value > state.best["value"]
        if better:
            state.best = {"metric": name, "value": value, "epoch": epoch}
        self.save("checkpoint.pth")
        if better:
            self.save("checkpoint_best.pth")
            if self.world.is_main:
                self.task.draw(self.run.folder)

    def save(self, name: str) -> None:
        if self.world.is_main:
            meta = self.task.meta() | {"recipe": self.recipe.to_dict(), "versions": provenance()}
            save_checkpoint(self.state.pack(self.recipe.to_dict(), meta), self.run / name)

    def training_batches(self) -> tuple[TrainingSampler, Any]:
        recipe, world = self.recipe, self.world
        assert recipe.batch_size is not None
        sampler = TrainingSampler(
            len(self.training),
            global_batch=recipe.batch_size * world.size * recipe.grad_accum_steps,
            seed=recipe.seed,
            rank=world.rank,
            ranks=world.size,
            drop_last=recipe.drop_last,
            views=3 if recipe.repeated_aug else 1,
            batches=recipe.steps_per_epoch,
        )
        return sampler, make_loader(self.training, sampler, recipe.batch_size, recipe.workers, world.device)

    def introduce(self) -> None:
        """Say what is trained on what, where, and by which backend."""
        r, run, state = self.recipe, self.run, self.state
        parameters = sum(p.numel() for p in state.model.parameters())
        run.say(f"{r.task}: {r.model}, {parameters / 1e6:.1f} M parameters, {len(self.task.classes)} classes")
        run.say(f"data: {len(self.training)} training images, {len(self.val)} validation images ({r.data})")
        for note in self.task.notes:
            run.say(note)
        backend = ops.backend(self.world.device.type, amp_dtype(r, self.world.device))
        run.say(f"on {self.world.describe()}; sublayers as {backend}")
        if state.model.load_report is not None:
            run.say(str(state.model.load_report))
        if state.epoch or state.step:
            run.say(f"going on in epoch {state.epoch} after {state.step} steps")
        run.say(f"writing to {run.folder}")

    def conclude(self, seconds: float) -> None:
        """Curves, a summary, and what to type next."""
        run, best = self.run, self.state.best
        unreadable = self.unreadable.over_all_ranks()
        if not self.world.is_main:
            return
        history = run.history()
        draw_curves(history, self.task.columns, run / "curves.png")
        last, key = history[-1], f"test_{best['metric']}"
        summary = {"best": best, "last": last, "seconds": round(seconds, 1), "unreadable_images": len(unreadable)}
        run.write_json("summary.json", summary)
        run.say()
        run.say(f"best   {key} {best['value']:.3f} in epoch {best['epoch']}")
        run.say(f"last   {key} {last[key]:.3f} in epoch {last['epoch']}")
        run.say(f"time   {clock(seconds)}, {last['images_per_second']:.0f} images/s in the last epoch")
        if unreadable:
            run.say(f"left out {len(unreadable)} unreadable images: {', '.join(unreadable[:3])}")
        run.say(f"next   twins eval --weights {run / 'checkpoint_best.pth'}")
        run.say(f"look   {run / 'curves.png'}, {', '.join(self.task.plots)}")


@torch.inference_mode()
def validate(
    task: Task,
    model: nn.Module,
    val: ImageDataset,
    recipe: Recipe,
    world: World,
    unreadable: UnreadableImages,
) -> dict[str, float]:
    """The task's metrics over the validation images, each seen exactly once over all ranks."""
    sampler = EvaluationSampler(len(val), world.rank, world.size)
    loader = make_loader(val, sampler, recipe.evaluation_batch, recipe.workers, world.device)
    progress = Progress("evaluating", len(loader), world.is_main)

    def batches() -> Iterator[Batch]:
        for batch in progress.over(loader):
            unreadable.note(batch)
            yield batch.to(world.device)

    model.eval()
    with autocast(recipe, world.device):
        metrics = dict(task.evaluate(model, batches()))
    if not metrics["images"]:
        raise TwinsError(f"{recipe.data}: none of the validation images can be read")
    return metrics


def announce_epoch(run: Run, task: Task, record: dict[str, Any], state: TrainingState) -> None:
    """One line an epoch."""
    metrics = "  ".join(f"{title} {record[f'test_{name}']:.{digits}f}" for name, title, digits in task.columns)
    run.say(
        f"epoch {record['epoch']:3d}  loss {record['train_loss']:.3f}  {metrics}  lr {record['train_lr']:.2e}  "
        f"{record['images_per_second']:.0f} images/s  {clock(record['time_left'])} left"
    )


@contextlib.contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Ctrl-C and SIGTERM set the event, so that the loop can stop between two updates; a second Ctrl-C stops at once.

    torchrun answers Ctrl-C with a SIGTERM of its own, which must not count as the second.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def ask_to_stop(signum: int, frame: object) -> None:
        if event.is_set() and signum == signal.SIGINT:
            raise KeyboardInterrupt
        event.set()

    before = {number: signal.signal(number, ask_to_stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""The optimiser and the schedule of its learning rate, from timm, by a recipe's settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ..errors import TwinsError
from ..optional_dependencies import need
from ..recipes import Recipe


def make_optimizer(recipe: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    """Groups with and without weight decay (and a learning rate a layer, if asked for), without frozen parameters.

    Raises TwinsError for an optimiser that timm does not have, or settings that do not fit it.
    """
    settings = {"eps": recipe.opt_eps, "betas": recipe.opt_betas}
    if recipe.layer_decay and recipe.decay_on != "weights":
        raise TwinsError(
            f"--layer-decay sorts parameters itself: it goes with --decay-on weights, not {recipe.decay_on}"
        )
    try:
        return need("timm.optim", extra="train").create_optimizer_v2(
            model if recipe.decay_on == "weights" else _groups(model, recipe),
            opt=recipe.opt,
            lr=recipe.lr,
            weight_decay=recipe.weight_decay,
            momentum=recipe.momentum,
            layer_decay=recipe.layer_decay,
            **{key: value for key, value in settings.items() if value is not None},
            **_in_one_pass(recipe, model),
        )
    except (AssertionError, ValueError, TypeError) as error:  # what timm raises for unknown names and unfit settings
        raise TwinsError(f"--opt {recipe.opt}: {error or 'no such optimiser in timm'}") from error


def _in_one_pass(recipe: Recipe, model: nn.Module) -> dict[str, bool]:
    """Ask Adam to read and write each weight once an update: the same arithmetic in a third of the time.

    PyTorch does so by itself on no device, and can on these.
    """
    devices = {parameter.device.type for parameter in model.parameters()}
    return {"fused": True} if recipe.opt in ("adam", "adamw") and devices <= {"cpu", "cuda"} else {}


def _groups(model: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """OpenMMLab's grouping: by name alone, so that biases decay, and the heads' batch norms (`bn`) too."""
    spared = ("norm", "pos_block") if recipe.decay_on == "all-but-norms" else ()
    groups: dict[bool, list[nn.Parameter]] = {False: [], True: []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups[any(part in name for part in spared)].append(parameter)
    decays = ({"params": groups[False]}, {"params": groups[True], "weight_decay": 0.0})
    return [group for group in decays if group["params"]]


_COUNTERS = ("best", "num_bad_epochs", "cooldown_counter", "last_epoch")  # of a plateau


def make_schedule(recipe: Recipe, optimizer: torch.optim.Optimizer, updates_per_epoch: int) -> Any:
    """A timm scheduler; `after_epoch` and `after_update` step it as the recipe says.

    Raises TwinsError for settings that do not go together.
    """
    if recipe.sched == "plateau" and recipe.sched_unit == "step":
        raise TwinsError("--sched plateau waits for the metrics of an epoch: it goes with --sched-unit epoch")
    if recipe.warmup_multiplies and recipe.sched_unit != "step":
        raise TwinsError("--warmup-multiplies changes the learning rate at each update: it goes with --sched-unit step")
    warmup_epochs = recipe.warmup_epochs
    if recipe.warmup_steps is not None:
        warmup_epochs = recipe.warmup_steps / updates_per_epoch
    # timm drops a step ahead of a milestone: with half a step more, the epoch named is the first of the lower one.
    half_a_step = 0.5 if recipe.sched_unit == "epoch" else 0.5 / updates_per_epoch
    schedule, _ = need("timm.scheduler", extra="train").create_scheduler_v2(
        optimizer,
        sched=recipe.sched,
        num_epochs=recipe.epochs,
        decay_epochs=recipe.decay_epochs,
        decay_milestones=[epoch + half_a_step for epoch in recipe.decay_milestones],
        patience_epochs=recipe.patience_epochs,
        decay_rate=recipe.decay_rate,
        min_lr=recipe.min_lr,
        warmup_lr=recipe.warmup_lr,
        warmup_epochs=0 if recipe.warmup_multiplies else warmup_epochs,
        noise=recipe.lr_noise,
        noise_pct=recipe.lr_noise_pct,
        noise_std=recipe.lr_noise_std,
        noise_seed=recipe.seed,
        step_on_epochs=recipe.sched_unit == "epoch",
        updates_per_epoch=updates_per_epoch,
    )
    if recipe.sched == "plateau":
        return Plateau(schedule)
    if not recipe.warmup_multiplies:
        return schedule
    assert recipe.lr is not None
    return MultipliedWarmUp(schedule, warmup_epochs * updates_per_epoch, recipe.warmup_lr / recipe.lr)


class MultipliedWarmUp:
    """OpenMMLab's linear warm-up: for the first `steps` updates the schedule's learning rate times `ratio` up to 1."""

    def __init__(self, schedule: Any, steps: float, ratio: float) -> None:
        self.schedule, self.steps, self.ratio = schedule, steps, ratio
        self.step_update(0)

    def step_update(self, updates: int) -> None:
        self.schedule.step_update(updates)
        if updates < self.steps:
            for group in self.schedule.optimizer.param_groups:
                group["lr"] *= 1 - (1 - updates / self.steps) * (1 - self.ratio)

    def step(self, epoch: int, metric: float | None = None) -> None:
        self.schedule.step(epoch, metric)

    def state_dict(self) -> dict[str, Any]:
        return self.schedule.state_dict()


class Plateau:
    """timm's plateau, with a state that holds its counters too, without which a resumed run would wait anew."""

    def __init__(self, schedule: Any) -> None:
        self.schedule = schedule
        self.step, self.step_update = schedule.step, schedule.step_update

    def state_dict(self) -> dict[str, Any]:
        counters = {name: getattr(self.schedule.lr_scheduler, name) for name in _COUNTERS}
        return counters | {"restore_lr": self.schedule.restore_lr}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """As far as it was saved; earlier versions left most of it out."""
        for name in _COUNTERS:
            if isinstance(value := saved.get(name), int | float):
                setattr(self.schedule.lr_scheduler, name, value)
        if isinstance(lrs := saved.get("restore_lr"), list) and len(lrs) == len(self.schedule.optimizer.param_groups):
            self.schedule.restore_lr = [float(lr) for lr in lrs]


def after_update(schedule: Any, updates: float) -> None:
    """Set the learning rate of the next update, `updates` having been made.

    That is no whole number where the global batch changed within an epoch; only noise has to be looked up by one.
    """
    whole = round(updates)
    noisy = getattr(schedule, "schedule", schedule).noise_range_t is not None
    schedule.step_update(whole if noisy or whole == updates else updates)


def after_epoch(recipe: Recipe, schedule: Any, epoch: int, metric: float | None) -> None:
    """Set the learning rate of the next epoch; `metric` is for a plateau.

    The published runs stepped with the number of the epoch just done: a lag of 1.
    """
    schedule.step(epoch + 1 - recipe.sched_lag, metric)


def position(recipe: Recipe, schedule: Any, epoch: int, updates: float, updates_per_epoch: int) -> None:
    """Put a fresh schedule where it stands after so many whole epochs, and updates of the next.

    A plateau depends on metrics that are past: there the optimiser's own learning rate stays, and the counters that
    its state holds.
    """
    if recipe.sched != "plateau":
        after_update(schedule, epoch * updates_per_epoch + updates)
        if epoch:
            after_epoch(recipe, schedule, epoch - 1, metric=None)


def current_lr(optimizer: torch.optim.Optimizer) -> float:
    """The learning rate of the layer that learns fastest."""
    return max(group["lr"] for group in optimizer.param_groups)


def learning_rates(recipe: Recipe, updates_per_epoch: int) -> list[float]:
    """The learning rate at the start of every epoch, as a run logs it under `train_lr`."""
    assert recipe.lr is not None
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=recipe.lr)
    schedule = make_schedule(recipe, optimizer, updates_per_epoch)
    lrs = []
    for epoch in range(recipe.epochs):
        lrs.append(current_lr(optimizer))
        after_update(schedule, (epoch + 1) * updates_per_epoch)
        after_epoch(recipe, schedule, epoch, metric=None)
    return lrs


def learning_rates_left(recipe: Recipe, updates_per_epoch: int, epoch: int, updates: float) -> list[float]:
    """Of what comes after so many epochs and `updates`: now, at the start of each later epoch, and in the last update.

    Not for a plateau, which nobody knows beforehand.
    """
    assert recipe.lr is not None
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=recipe.lr)
    schedule = make_schedule(recipe, optimizer, updates_per_epoch)
    last = recipe.epochs - 1
    at_the_end = max(updates, updates_per_epoch - 1) if epoch == last else updates_per_epoch - 1
    lrs = []
    for moment in ((epoch, updates), *((later, 0) for later in range(epoch + 1, recipe.epochs)), (last, at_the_end)):
        position(recipe, schedule, *moment, updates_per_epoch)
        lrs.append(current_lr(optimizer))
    return lrs

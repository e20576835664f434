"""What a resumed run says of where it goes on, and of the learning rates that are left to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..checkpoints.resume import TrainingState
from ..data.sampling import TrainingSampler
from ..recipes import Recipe
from . import optim
from .rest_of_epoch import RestOfEpoch

LOW = 0.1  # of the peak: epochs that are added there hardly change the weights


def describe_resumption(
    state: TrainingState, sampler: TrainingSampler, recipe: Recipe, trained_by: Mapping[str, Any], folder: Path
) -> list[str]:
    """Lines about a state that has just been restored, and still tells the global batch that it was saved with.

    `trained_by` holds the fields of the recipe that its run had until then, as far as the checkpoint tells them.
    """
    before, now = state.global_batch, sampler.global_batch
    changed = before not in (0, now)
    where = f"going on in epoch {state.epoch}{_seen(state, sampler)}"
    lrs = _learning_rates_left(state, RestOfEpoch.of(sampler, state), recipe)
    lines = [
        f"{where}, now {now} images an update instead of {before}" if changed else where,
        *_in_another_order(state, sampler, trained_by),
        _in_words(lrs, recipe) + _peak(recipe, _number(trained_by, "lr"), changed),
    ]
    longer = recipe.epochs > (_number(trained_by, "epochs") or recipe.epochs)
    if longer and recipe.lr is not None and max(lrs) < LOW * recipe.lr:
        best = folder / "checkpoint_best.pth"
        lines.append(f"that is near the schedule's end; to start it afresh, start a new run with --weights {best}")
    return lines


def _in_another_order(state: TrainingState, sampler: TrainingSampler, trained_by: Mapping[str, Any]) -> list[str]:
    """The line of an epoch whose rest is of another shuffle than its beginning; none of others."""
    images, seed = state.training_images or sampler.count, trained_by.get("seed", sampler.seed)
    if not state.step or (images, seed) == (sampler.count, sampler.seed):
        return []
    what = f"--seed {seed}" if images == sampler.count else f"{images} training images"
    return [f"this epoch began with {what} and goes on in another order: it sees some images twice and others not"]


def _in_words(lrs: Sequence[float], recipe: Recipe) -> str:
    now, *later = lrs
    words = f"learning rate {now:.2e} now"
    if not later:
        return words
    if max(lrs) > max(now, lrs[-1]):
        words += f", at most {max(lrs):.2e}"
    return f"{words}, {lrs[-1]:.2e} at the end of epoch {recipe.epochs - 1}"


def _peak(recipe: Recipe, before: float | None, batch_changed: bool) -> str:
    """Whether a flag changed the peak; if the global batch did, that it leaves the peak alone."""
    if before is None:
        return ""
    if recipe.lr != before:
        return f"; its peak is {recipe.lr:.2e}, it was {before:.2e}"
    return f"; its peak stays {before:.2e} (--lr sets another)" if batch_changed else ""


def _number(fields: Mapping[str, Any], name: str) -> float | None:
    """A field of a recipe that main.py does not go by, so that nobody has checked it."""
    value = fields.get(name)
    return value if isinstance(value, int | float) else None


def _seen(state: TrainingState, sampler: TrainingSampler) -> str:
    if not state.step:
        return ""
    if sampler.batches is not None:
        return f" after {state.step} of {sampler.batches} updates"
    return f" after {min(state.samples, sampler.count)} of {sampler.count} images"


def _learning_rates_left(state: TrainingState, rest: RestOfEpoch, recipe: Recipe) -> list[float]:
    """From now to the end; of a plateau, which depends on metrics to come, only that of now."""
    if recipe.sched == "plateau":
        return [optim.current_lr(state.optimizer)]
    return optim.learning_rates_left(recipe, rest.whole, state.epoch, rest.start)

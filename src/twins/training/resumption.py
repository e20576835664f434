"""What a resumed run says of where it goes on, and of the learning rates that are left to it."""

from __future__ import annotations

from collections.abc import Mapping
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
    lines = [f"{where}, now {now} images an update instead of {before}" if changed else where]

    lrs = _learning_rates_left(state, RestOfEpoch.of(sampler, state), recipe)
    line = f"learning rate {lrs[0]:.2e} now"
    if max(lrs) > max(lrs[0], lrs[-1]):
        line += f", at most {max(lrs):.2e}"
    if len(lrs) > 1:
        line += f", {lrs[-1]:.2e} at the end of epoch {recipe.epochs - 1}"
    peak = _number(trained_by, "lr")
    if peak is not None and recipe.lr != peak:
        line += f"; its peak is {recipe.lr:.2e}, it was {peak:.2e}"
    elif changed and peak is not None:
        line += f"; its peak stays {peak:.2e} (--lr sets another)"
    lines.append(line)

    longer = recipe.epochs > (_number(trained_by, "epochs") or recipe.epochs)
    if longer and recipe.lr is not None and max(lrs) < LOW * recipe.lr:
        best = folder / "checkpoint_best.pth"
        lines.append(f"that is near the schedule's end; to start it afresh, start a new run with --weights {best}")
    return lines


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

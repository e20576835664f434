"""The metrics of a checkpoint on validation images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..checkpoints.info import classes_of, identify, identify_head, meta_of
from ..checkpoints.load import load_whole
from ..checkpoints.read import read_checkpoint
from ..class_names import numbered
from ..data.loading import UnreadableImages
from ..distributed.collectives import from_main
from ..distributed.world import joined
from ..errors import TwinsError
from ..recipes import Recipe, find_recipe, recipe_of_checkpoint
from ..tasks import Task, make_task
from .loop import validate
from .run_folder import Run, new_run_folder


def evaluate_weights(
    recipe: Recipe,
    weights: Path,
    ema: bool | None = None,
    announce: Callable[[Task, dict[str, float]], None] | None = None,
) -> dict[str, float]:
    """Evaluate a checkpoint of any dialect by a recipe; its own classes hold where it names them.

    `ema` takes the moving average that the checkpoint keeps, or leaves it; by default it is taken where there is one,
    since that is what its run evaluated. The main process calls `announce(task, metrics)`; by default they are
    printed, and drawn into a folder of their own. Raises TwinsError for data, device or weights that cannot be used.
    """
    checkpoint = read_checkpoint(weights)
    known, head = classes_of(checkpoint), identify_head(checkpoint)
    if head and head.task == "segment" and "format" not in checkpoint:
        known = numbered(head.classes)  # masks tell classes by number, and perhaps not all of them
    with joined(recipe.device) as world:
        task = make_task(recipe.replace(weights=None), known)
        _, val = task.datasets(evaluation_only=True)
        model = task.build()
        report = load_whole(model, checkpoint, str(weights), ema)
        for name, rule in report.reshaped.items():
            raise TwinsError(f"{weights}: does not fit {len(task.classes)} classes of {recipe.data}: {name} {rule}")
        unreadable = UnreadableImages(recipe.bad_images)
        metrics = validate(task, model.to(world.device), val, recipe, world, unreadable)
        left_out = unreadable.over_all_ranks()
        if announce is None:
            run = Run(from_main(new_run_folder(recipe)), main=world.is_main)
            run.create()
            if world.is_main:
                write_evaluation(run, task, metrics, left_out)
        elif world.is_main:
            announce(task, metrics)
    return metrics


def write_evaluation(run: Run, task: Task, metrics: dict[str, float], left_out: list[str]) -> None:
    """Print the metrics, and put them and their images into the run's folder."""
    shown = "  ".join(f"{title} {metrics[name]:.{digits}f}" for name, title, digits in task.columns)
    for note in task.notes:
        run.say(note)
    run.say(f"{shown}  on {metrics['images']:.0f} images")
    if left_out:
        run.say(f"left out {len(left_out)} unreadable images: {', '.join(left_out[:3])}")
    run.write_json("metrics.json", metrics)
    task.draw(run.folder)
    run.say(f"images and tables in {run.folder}")


def task_of_weights(weights: Path) -> str | None:
    """The task of a checkpoint, by what it says or by the names of its weights. Raises TwinsError if it is none."""
    checkpoint = read_checkpoint(weights)
    told = meta_of(checkpoint).get("task")
    head = identify_head(checkpoint)
    return told or (head.task if head else None)


def recipe_of_weights(weights: Path, task: str, changes: dict[str, Any], published: str | None = None) -> Recipe:
    """What a checkpoint tells of its network, data and preprocessing, with changes; or a recipe that fits it.

    Where the checkpoint tells nothing, it is held to be of the run that `published` names. Without a data folder in
    `changes` the validation images of its own run are meant. Raises TwinsError where neither the checkpoint nor
    `changes` says what is needed.
    """
    checkpoint = read_checkpoint(weights)
    changes = {"name": "eval", "output": "runs", **changes}
    if task == "classify":  # how its run decoded decides nothing, and may need a library that is not here
        changes = {"decoder": "auto", **changes}
    own = recipe_of_checkpoint(checkpoint, task, source=str(weights))
    head = identify_head(checkpoint)
    if own is not None:
        if published is not None:
            raise TwinsError(f"{weights}: knows its own recipe: leave --recipe out")
        if changes.get("data", own.data) != own.data:
            changes = {"val_split": 0.0, **changes}
        if head and head.kind == "mask_rcnn" and not head.masks:  # it learnt from data without masks
            own = own.replace(model_kwargs=own.model_kwargs | {"masks": False})
        return own.replace(**changes)
    if published is not None:
        return find_recipe(published, task).replace(**{"amp": False, **changes})
    model = changes.get("model") or identify(checkpoint)
    if model is None:
        raise TwinsError(f"{weights}: cannot tell which network this is; pass --model")
    if "data" not in changes:
        raise TwinsError(f"{weights}: says nothing of its data; pass --data with a folder of images")
    recipe = find_recipe("pictures", task).replace(val_split=0.0, amp=False)
    if task == "segment" and head:
        changes = {"head": head.kind, "head_channels": head.channels, **changes}
    if task == "detect" and head:
        masks = {"masks": head.masks} if head.kind == "mask_rcnn" else {}
        changes = {"detector": head.kind, "model_kwargs": {"channels": head.channels, **masks}, **changes}
    return recipe.replace(**{**changes, "model": model})

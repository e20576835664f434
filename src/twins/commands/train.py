"""`twins train`: train by a recipe, or go on with a run that was stopped."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import TwinsError
from ..model_names import model_name
from ..recipes import Recipe, list_recipes, stored_recipe
from ..recipes.base import tuples_for_lists
from .recipe_flags import FLAGS_OF_TASK, TASKS_HELP, add_recipe_flags

if TYPE_CHECKING:
    from ..checkpoints.info import CheckpointInfo


def add_parser(commands: Any, recipe: Recipe) -> argparse.ArgumentParser:
    """Its flags: the fields of the recipe's task."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "train",
        usage="twins train [--task TASK] [--recipe NAME] [--data FOLDER] [--weights FILE] [--FLAG VALUE ...]",
        description="Train by a recipe. Flags change it; the defaults below are those of the recipe that is named, or "
        "of `digits`; `none` switches a setting off. With torchrun in front, several processes train together. "
        + FLAGS_OF_TASK,
    )
    parser.add_argument("--task", help=f"{TASKS_HELP} (default: what the recipe or the checkpoint is for, or classify)")
    parser.add_argument("--recipe", metavar="NAME|FILE", help="where to start from: "
                        f"{', '.join(list_recipes(recipe.task))}, or a run's recipe.json (default: `digits` for "
                        "--data digits, else `pictures`)")  # fmt: skip
    parser.add_argument("--resume", nargs="?", const="", metavar="CHECKPOINT",
                        help="go on from this file; without one from the newest unfinished run, of the name, data or "
                        "recipe if one is given")  # fmt: skip
    parser.add_argument(
        "--print-lr", action="store_true", help="print the learning rate of every epoch as JSON, and stop"
    )
    add_recipe_flags(parser, recipe, "train")
    return parser


def run(args: argparse.Namespace) -> int:
    """Train; 130 if Ctrl-C stopped the run before its end, 143 or 138 if SIGTERM or SIGUSR1 did."""
    checkpoint = args.checkpoint
    folder = None if checkpoint is None else Path(checkpoint.source).parent
    if checkpoint is None:
        recipe = args.base_recipe.replace(**args.changes)
        if recipe.weights is not None:
            recipe = _with_network_of_weights(recipe, _said(args))
        if args.resume is not None:
            folder, checkpoint = _newest_of_its_name(recipe)
    if checkpoint is not None:
        recipe = _recipe_of_run(checkpoint, args.task).replace(**args.changes)
    if args.print_lr:
        _print_learning_rates(recipe)
        return 0
    from ..distributed.lost_ranks import LostRanksError  # heavy, so after all that can be wrong with the recipe
    from ..distributed.torchrun import restarts_are_left

    try:
        return _train(args, recipe, folder, checkpoint)
    except LostRanksError as error:
        next_step = "torchrun starts all anew" if restarts_are_left() else "go on with twins train --resume"
        raise LostRanksError(f"{error}; {next_step}, from the last checkpoint") from error


def _train(args: argparse.Namespace, recipe: Recipe, folder: Path | None, checkpoint: CheckpointInfo | None) -> int:
    """Train, or go on with what an earlier attempt of the same torchrun job was at; returns the exit status."""
    from ..distributed.world import init_distributed
    from ..training.loop import fit
    from ..training.run_of_job import find_run_of_job

    with init_distributed(recipe.device, recipe.rank_timeout) as world:
        before = find_run_of_job(recipe.output, folder)
        if before is not None:
            folder, checkpoint = before.folder, None
            if world.is_main:
                print(f"torchrun has started this job's processes anew: going on in {folder}", flush=True)
            if before.finished:
                return 0
            if before.checkpoint is not None:
                checkpoint = read_newest_whole(before.checkpoint)
                recipe = _recipe_of_run(checkpoint, args.task).replace(**args.changes)
        return fit(recipe, folder=folder, resume=checkpoint).status


def _said(args: argparse.Namespace) -> set[str]:
    """The fields that flags set, and those in which a recipe that was named differs from none."""
    base, plain = args.base_recipe.to_dict(), type(args.base_recipe)().to_dict()
    return {*args.changes, *(name for name in base if args.recipe is not None and base[name] != plain[name])}


def _with_network_of_weights(recipe: Recipe, said: set[str]) -> Recipe:
    """The recipe for the network that its weights are of, where they know it and nothing else was said."""
    from ..checkpoints.info import read_info
    from ..checkpoints.timm_copy import TIMM

    if recipe.weights == TIMM:
        return recipe
    info = read_info(str(recipe.weights))
    if info.model is None or ("model" in said and model_name(recipe.model) != info.model):
        return recipe  # loading says whether they fit
    fields: dict[str, Any] = {"model": info.model}
    own = recipe.model_kwargs if "model_kwargs" in said else {}
    fields["model_kwargs"] = {**tuples_for_lists(info.architecture), **own}
    if info.ours and info.task == recipe.task:
        of_head = {"head": info.head, "detector": info.head, "head_channels": info.create_model.get("channels")}
        names = recipe.to_dict().keys() - said
        fields |= {name: value for name, value in of_head.items() if name in names and value is not None}
    return recipe.replace(**fields)


def newest_checkpoint(output: str, task: str | None) -> Path:
    """That of the newest unfinished run of a task, or of any. Raises TwinsError where there is none."""
    from ..training.run_folder import NEWEST, newest_unfinished_of_all

    folder = newest_unfinished_of_all(output, task)
    if folder is None:
        raise TwinsError(f"{output}: no unfinished run there to go on with; --output or --resume FILE name another")
    return folder / NEWEST


def read_newest_whole(path: Path) -> CheckpointInfo:
    """A checkpoint to resume or, if it is damaged, the one before it, which is said. Raises TwinsError for others."""
    from ..checkpoints.info import read_info
    from ..checkpoints.rotation import newest_whole

    return newest_whole(path, read_info, print)


def _newest_of_its_name(recipe: Recipe) -> tuple[Path | None, CheckpointInfo | None]:
    """The folder and the checkpoint of the newest unfinished run of the recipe's name; says what is not there."""
    from ..training.run_folder import NEWEST, newest_unfinished

    folder = newest_unfinished(recipe)
    if folder is None:
        print(f"no unfinished run named {recipe.name or recipe.model}: starting one")
        return None, None
    if not (folder / NEWEST).exists():
        print(f"{folder}: nothing was saved yet; starting it again")
        return folder, None
    return folder, read_newest_whole(folder / NEWEST)


def _recipe_of_run(checkpoint: CheckpointInfo, task: str) -> Recipe:
    """The recipe that a checkpoint was trained by. Raises TwinsError where it cannot be resumed."""
    from ..checkpoints.resume import read_training_checkpoint

    info = read_training_checkpoint(checkpoint)
    if info.recipe is None:
        raise TwinsError(
            f"{info.source}: no recipe inside; a checkpoint of the original is resumed by main.py --resume"
        )
    return stored_recipe(info.recipe, task, info.source)


def _print_learning_rates(recipe: Recipe) -> None:
    from ..training.optim import learning_rates

    updates = 1 if recipe.sched_unit == "epoch" else recipe.steps_per_epoch or 1000
    print(json.dumps(learning_rates(recipe.resolve(processes=1), updates)))

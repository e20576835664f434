"""`twins train`: train by a recipe, or go on with a run that was stopped."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import TwinsError
from ..recipes import Recipe, list_recipes, stored_recipe
from . import INTERRUPTED
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
    """Train; 130 if Ctrl-C or a signal stopped the run before its end."""
    checkpoint = args.checkpoint
    if checkpoint is None:
        recipe = args.base_recipe.replace(**args.changes)
        if args.resume is not None:
            checkpoint = _newest_of_its_name(recipe)
    if checkpoint is not None:
        recipe = _recipe_of_run(checkpoint, args.task).replace(**args.changes)
    if args.print_lr:
        _print_learning_rates(recipe)
        return 0
    from ..training.loop import fit  # heavy, so after all that can be wrong with the recipe

    folder = None if checkpoint is None else Path(checkpoint.source).parent
    outcome = fit(recipe, folder=folder, resume=checkpoint)
    return 0 if outcome.finished else INTERRUPTED


def newest_checkpoint(output: str, task: str | None) -> Path:
    """That of the newest unfinished run of a task, or of any. Raises TwinsError where there is none."""
    from ..training.run_folder import newest_unfinished_of_all

    folder = newest_unfinished_of_all(output, task)
    if folder is None:
        raise TwinsError(f"{output}: no unfinished run there to go on with; --output or --resume FILE name another")
    return folder / "checkpoint.pth"


def _newest_of_its_name(recipe: Recipe) -> CheckpointInfo | None:
    """That of the newest unfinished run of the recipe's name, if there is one; says so if there is none."""
    from ..checkpoints.info import read_info
    from ..training.run_folder import newest_unfinished

    unfinished = newest_unfinished(recipe)
    if unfinished is None:
        print(f"no unfinished run named {recipe.name or recipe.model}: starting one")
        return None
    return read_info(unfinished / "checkpoint.pth")


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

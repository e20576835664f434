"""`twins eval`: the metrics of a checkpoint on validation or test images."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..recipes import Recipe
from .recipe_flags import FLAGS_OF_TASK, TASKS_HELP, add_recipe_flags


def add_parser(commands: Any, recipe: Recipe) -> argparse.ArgumentParser:
    """Its flags: those fields of the task's recipe that evaluation knows."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "eval",
        usage="twins eval --weights FILE [--data FOLDER] [--recipe NAME] [--FLAG VALUE ...]",
        description="Evaluate a checkpoint. Its network, classes, preprocessing and data are as the checkpoint says "
        "unless a flag says otherwise. Published weights, and those of others, say nothing of their data: pass --data. "
        + FLAGS_OF_TASK,
    )
    parser.add_argument("--task", help=f"{TASKS_HELP} (default: what the checkpoint is for)")
    parser.add_argument("--weights", required=True, metavar="FILE", help="a checkpoint, of any dialect, or a file "
                        "that `twins export` wrote")  # fmt: skip
    parser.add_argument("--recipe", metavar="NAME|FILE", help="the published run that weights of others are from; the "
                        "recipe `pictures` of the task if not given")  # fmt: skip
    parser.add_argument("--part", choices=("val", "train", "test"), default="val",
                        help="the images to measure (default: %(default)s)")  # fmt: skip
    parser.add_argument("--ema", action=argparse.BooleanOptionalAction,
                        help="take the moving average of the weights (default: where there is one)")  # fmt: skip
    if recipe.task == "classify":  # data of masks has a flag of this name, for the names of its own
        parser.add_argument("--classes", dest="names_of_classes", metavar="FILE",
                            help="names of the network's classes in order, one a line, if it has none")  # fmt: skip
    parser.set_defaults(names_of_classes=None)
    add_recipe_flags(parser, recipe, "eval")
    return parser


def run(args: argparse.Namespace) -> int:
    """Print the metrics, and write them and their images into a folder of their own."""
    from ..class_names import read_names
    from ..training.evaluation import evaluate_checkpoint, recipe_of_checkpoint

    names = read_names(Path(args.names_of_classes)) if args.names_of_classes else None
    checkpoint = args.checkpoint.with_classes(names)
    recipe = recipe_of_checkpoint(checkpoint, args.task, args.changes, args.recipe)
    evaluate_checkpoint(recipe.replace(part=args.part), checkpoint, ema=args.ema)
    return 0

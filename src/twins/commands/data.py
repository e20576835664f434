"""`twins data`: look through a folder of images before hours are spent on it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..recipes import Recipe
from .recipe_flags import FLAGS_OF_TASK, TASKS_HELP, add_recipe_flags

_LOOKS = {"check": "read every annotation and say what is wrong", "preview": "draw annotated samples"}


def add_parser(commands: Any, recipe: Recipe) -> argparse.ArgumentParser:
    """Two ways to look, each with those fields of the task's recipe that say what the data is."""
    parser: argparse.ArgumentParser = commands.add_parser("data")
    parser.add_argument("--task", help=f"{TASKS_HELP} (default: classify)")
    looks = parser.add_subparsers(dest="look", required=True, metavar="check|preview")
    for name, help_text in _LOOKS.items():
        look = looks.add_parser(
            name,
            help=help_text,
            description=f"{help_text.capitalize()}. Nothing is written to the data folder. {FLAGS_OF_TASK}",
            usage=f"twins data {name} --data FOLDER [--task TASK] [--FLAG VALUE ...]",
        )
        look.add_argument("--task", help=f"{TASKS_HELP} (default: classify)")
        if name == "preview":
            look.add_argument("--out", default="preview.png", metavar="FILE", help="the image to write")
        add_recipe_flags(look, recipe, "data")
        look.set_defaults(parser=look)
    return parser


def run(args: argparse.Namespace) -> int:
    """Print what is found, or draw samples; 2 if the data cannot be trained on."""
    recipe = args.base_recipe.replace(**args.changes)
    from .data_check import check_data, preview_data

    if args.look == "preview":
        preview_data(recipe, Path(args.out))
        return 0
    return 0 if check_data(recipe) else 2

"""Recipes by name: every published run, and defaults for one's own data."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import TwinsError, nearest
from .base import Recipe, one_number_a_class, read_json, tuples_for_lists, two_positive
from .classify import CLASSIFY, ClassifyRecipe
from .detect import DETECT, DETECT_ALIASES, DetectRecipe
from .fields import fields_of
from .segment import SEGMENT, SEGMENT_ALIASES, SegmentRecipe
from .split import Split
from .values import folder_name

__all__ = [
    "NETWORK_OF_TASK",
    "TASKS",
    "ClassifyRecipe",
    "DetectRecipe",
    "Recipe",
    "SegmentRecipe",
    "Split",
    "fields_of",
    "find_recipe",
    "list_recipes",
    "one_number_a_class",
    "recipe_class",
    "stored_recipe",
    "task_of_recipe",
    "tuples_for_lists",
    "two_positive",
]

_CLASSES: dict[str, type[Recipe]] = {"classify": ClassifyRecipe, "segment": SegmentRecipe, "detect": DetectRecipe}
_RECIPES: dict[str, Mapping[str, Recipe]] = {"classify": CLASSIFY, "segment": SEGMENT, "detect": DETECT}
TASKS = tuple(_CLASSES)
NETWORK_OF_TASK = {"classify": "classifier", "segment": "segmenter", "detect": "detector"}  # what people call it
_ALIASES: dict[str, dict[str, str]] = {"classify": {}, "segment": SEGMENT_ALIASES, "detect": DETECT_ALIASES}


def recipe_class(task: str) -> type[Recipe]:
    """The dataclass that holds a task's recipes. Raises TwinsError for an unknown task."""
    if task not in _CLASSES:
        raise TwinsError(f"unknown task {task!r}{nearest(task, list(_CLASSES))}; there is {', '.join(_CLASSES)}")
    return _CLASSES[task]


def list_recipes(task: str = "classify") -> list[str]:
    """The names of a task's recipes."""
    recipe_class(task)
    return list(_RECIPES[task])


def find_recipe(name: str, task: str = "classify") -> Recipe:
    """A recipe by its name, by the file name of the original's configuration, or from a JSON file, as a run writes it.

    Raises TwinsError for a name that is not there, with the nearest ones, and for a file that holds no recipe.
    """
    cls = recipe_class(task)
    known = _ALIASES[task].get(name.removesuffix(".py"), name)
    if known in _RECIPES[task]:
        return _RECIPES[task][known].replace(name=known)
    path = Path(name)
    if path.suffix == ".json":
        return cls.from_dict(read_json(path), source=str(path))
    names = [name for t in _CLASSES for name in (*_RECIPES[t], *_ALIASES[t])]
    raise TwinsError(
        f"unknown recipe {name!r}{nearest(name, names)}; there is {', '.join(list_recipes(task))}, or a .json file"
    )


def stored_recipe(fields: Mapping[str, Any], task: str, source: str) -> Recipe:
    """The recipe whose fields the checkpoint `source` keeps.

    Raises TwinsError for a recipe of another task, and for fields that recipes do not have.
    """
    of_task = fields.get("task")
    if of_task in TASKS and of_task != task:
        raise TwinsError(f"{source}: was trained to {of_task}: leave --task {task} out")
    name = fields.get("name")  # some earlier runs were named like a path
    cleaned = {"name": folder_name(name)} if isinstance(name, str) else {}
    return recipe_class(task).from_dict({**fields, **cleaned}, source=source)


def task_of_recipe(name: str) -> str | None:
    """The one task that has a recipe of this name, or that a recipe file is for; None where several or none do."""
    path = Path(name)
    if path.suffix == ".json" and os.path.isfile(path):  # the name may be too long for any file
        task = read_json(path).get("task")
        return task if task in TASKS else None
    tasks = [t for t in _CLASSES if name.removesuffix(".py") in {*_RECIPES[t], *_ALIASES[t]}]
    return tasks[0] if len(tasks) == 1 else None

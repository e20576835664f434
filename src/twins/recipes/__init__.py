"""Recipes by name: every published run, and defaults for one's own data."""

from __future__ import annotations

from pathlib import Path

from ..errors import TwinsError, nearest
from .classify import CLASSIFY, ClassifyRecipe
from .recipe import Recipe, read_json, tuples_for_lists

__all__ = ["ClassifyRecipe", "Recipe", "find_recipe", "list_recipes", "recipe_class", "tuples_for_lists"]

_CLASSES: dict[str, type[Recipe]] = {"classify": ClassifyRecipe}
_RECIPES: dict[str, dict[str, ClassifyRecipe]] = {"classify": CLASSIFY}


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
    """A recipe by its name, or from a JSON file, as a run writes it to `recipe.json`.

    Raises TwinsError for a name that is not there, with the nearest ones, and for a file that holds no recipe.
    """
    cls = recipe_class(task)
    if name in _RECIPES[task]:
        return _RECIPES[task][name].replace(name=name)
    path = Path(name)
    if path.suffix == ".json":
        return cls.from_dict(read_json(path), source=str(path))
    known = list_recipes(task)
    raise TwinsError(f"unknown recipe {name!r}{nearest(name, known)}; there is {', '.join(known)}, or a .json file")

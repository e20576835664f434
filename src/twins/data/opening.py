"""A recipe's data, looked through once for all ranks."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from ..distributed.long_work import all_wait_for, by_main
from ..recipes import ClassifyRecipe, Recipe
from ..recipes.pipes import PIPE
from .listings import kept_listings
from .shards.naming import named_shards
from .shards.pipes import fetched

T = TypeVar("T")


def open_once(recipe: Recipe, open_parts: Callable[[], T]) -> T:
    """What `open_parts` finds in a recipe's data: the main process looks, and hands it to the others.

    Files must have the same paths on all machines. Long lists of files are kept below the recipe's output. Shards that
    come through pipes are fetched first, by one process on each machine. Every rank must call. Raises TwinsError, on
    all ranks, where `open_parts` does.
    """
    if recipe.data == "digits":  # embedded; or made from those, on each machine
        return open_parts()
    if isinstance(recipe, ClassifyRecipe) and any(map(_is_pipe, (recipe.data, recipe.val_shards))):
        all_wait_for(partial(_fetch, recipe) if int(os.environ.get("LOCAL_RANK", 0)) == 0 else None)
    return by_main(partial(_opened, recipe, open_parts))


def _opened(recipe: Recipe, open_parts: Callable[[], T]) -> T:
    with kept_listings(recipe.data, Path(recipe.output)):
        return open_parts()


def _fetch(recipe: ClassifyRecipe) -> None:
    for data in filter(_is_pipe, (recipe.data, recipe.val_shards)):
        fetched(named_shards(data or ""), recipe.shard_cache)


def _is_pipe(data: str | None) -> bool:
    return data is not None and data.startswith(PIPE)

"""A run's settings beside those of the recipe that it is nearest to, and beside those of other runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..recipes import find_recipe, list_recipes

_OF_NO_CONSEQUENCE = ("task", "name", "output", "exist_ok", "device", "workers")  # to what is learnt
ABSENT = "\u2013"  # in place of the value of a setting that an earlier version did not have


class Setting(NamedTuple):
    """A setting that has different values."""

    flag: str
    values: tuple[str, ...]


class Departures(NamedTuple):
    """How a run differs from the recipe that it has most in common with."""

    recipe: str
    settings: tuple[Setting, ...]  # values: the run's, the recipe's


def departures(fields: Mapping[str, Any]) -> Departures:
    """Those of a run with these fields. Of equally near recipes of its task the first in the list counts."""
    named = {name: find_recipe(name, fields["task"]) for name in list_recipes(fields["task"])}
    candidates = {name: recipe.resolve(processes=1).to_dict() for name, recipe in named.items()}
    found = [Departures(name, tuple(differing([fields, base]))) for name, base in candidates.items()]
    return min(found, key=lambda departures: len(departures.settings))


def differing(runs: Sequence[Mapping[str, Any]]) -> list[Setting]:
    """The settings in which some of these recipes' fields differ, in the order of the first one's fields."""
    names = dict.fromkeys(name for fields in runs for name in fields if name not in _OF_NO_CONSEQUENCE)
    rows = [(name, tuple(_written(fields, name) for fields in runs)) for name in names]
    return [Setting(flag(name), values) for name, values in rows if len(set(values)) > 1]


def all_settings(fields: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(flag, value) of every field."""
    return [(flag(name), _written(fields, name)) for name in fields]


def flag(field: str) -> str:
    """How a field is called on the command line."""
    return "--" + field.replace("_", "-")


def _written(fields: Mapping[str, Any], name: str) -> str:
    """A field's value as the command line takes it."""
    return written(json.loads(json.dumps(fields[name]))) if name in fields else ABSENT


def written(value: Any) -> str:
    """A setting's value as the command line takes it."""
    match value:
        case None:
            return "none"
        case bool():
            return "on" if value else "off"
        case float():
            return f"{value:.6g}"
        case dict():
            return " ".join(f"{key}={written(v).replace(' ', ',')}" for key, v in value.items()) or "none"
        case list():
            return " ".join(map(written, value)) or "none"
    return str(value)

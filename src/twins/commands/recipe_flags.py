"""A recipe's fields as flags of the command line, and back."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

from ..recipes import TASKS, Recipe, fields_of, recipe_class, tuples_for_lists
from ..recipes.values import hints_of, takes_one_or_several, takes_several, value_type, without_none

TASKS_HELP = "classify: one label an image; detect: a box, and a mask, for each object; segment: a class for each pixel"
FLAGS_OF_TASK = "Flags differ by task: `--task detect --help` shows those of detection, and so on."


def add_recipe_flags(parser: argparse.ArgumentParser, recipe: Recipe, command: str) -> None:
    """The flags that `command` has for a recipe's task, in the groups of their fields.

    Help shows the recipe's values as defaults, or where they come from if `command` evaluates a checkpoint. Flags that
    are not given leave no trace in the parsed arguments.
    """
    groups: dict[str, Any] = {}
    for field in fields_of(type(recipe), command):
        name = field.metadata["group"]
        group = groups[name] = groups.get(name) or parser.add_argument_group(name)
        default = "as in the checkpoint's run" if command == "eval" else _shown(getattr(recipe, field.name))
        default = field.metadata["unless_given"].get(command, default)
        add_flag(group, type(recipe), field, f"{field.metadata['help']} (default: {default})")
    parser.set_defaults(flags_of_other_tasks=_flags_of_other_tasks(recipe.task, command))


def add_flag(group: Any, cls: type[Recipe], field: dataclasses.Field[Any], help_text: str) -> None:
    """One field of a recipe as a flag of a parser or a group of one."""
    hint = hints_of(cls)[field.name]
    kind = value_type(hint)
    optional = without_none(hint) is not hint
    settings: dict[str, Any] = {"dest": field.name, "default": argparse.SUPPRESS, "help": help_text.replace("%", "%%")}
    if kind is bool:
        settings["action"] = argparse.BooleanOptionalAction
    elif kind is dict:
        settings |= {"nargs": "+", "metavar": "KEY=VALUE", "type": _key_value, "action": _IntoDict}
    else:
        settings["type"] = _with_words(kind, field.metadata["words"] | ({"none": None} if optional else {}))
        if takes_several(hint):
            settings["nargs"] = "+"
        elif takes_one_or_several(hint):
            settings |= {"nargs": "+", "action": _OneOrSeveral}
        if field.metadata["choices"]:
            settings["choices"] = [*field.metadata["choices"], *([None] if optional else [])]
            settings["metavar"] = f"{{{','.join('none' if one is None else one for one in settings['choices'])}}}"
        else:
            settings["metavar"] = {int: "N", float: "X"}.get(kind, "NAME" if "name" in field.name else "VALUE")
    group.add_argument(*_spellings(field), **settings)


def given(args: argparse.Namespace, cls: type[Recipe], command: str) -> dict[str, Any]:
    """The fields of a recipe that were set on the command line. Raises TwinsError for values that they do not take."""
    values = {field.name: getattr(args, field.name) for field in fields_of(cls, command) if field.name in args}
    values = tuples_for_lists({name: None if value == [None] else value for name, value in values.items()})
    for name, value in values.items():
        cls.check_field(name, value)
    return values


def _flags_of_other_tasks(task: str, command: str) -> dict[str, list[str]]:
    """The flags that a command has for other tasks only, and for which."""
    own = {spelling for field in fields_of(recipe_class(task), command) for spelling in _spellings(field)}
    others: dict[str, list[str]] = {}
    for other in TASKS:
        for field in fields_of(recipe_class(other), command):
            for spelling in _spellings(field):
                if spelling not in own:
                    others.setdefault(spelling, []).append(other)
    return others


def _spellings(field: dataclasses.Field[Any]) -> list[str]:
    """Short aliases, the field's own name, long aliases: the order in which help shows them."""
    aliases = field.metadata["aliases"]
    short, long = ([a for a in aliases if a.startswith("--") is is_long] for is_long in (False, True))
    return [*short, "--" + field.name.replace("_", "-"), *long]


class _IntoDict(argparse.Action):
    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        setattr(namespace, self.dest, dict(values))


class _OneOrSeveral(argparse.Action):
    """One value stands for itself, several are a list."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        setattr(namespace, self.dest, values[0] if len(values) == 1 else values)


def _with_words(kind: Callable[[str], Any], words: Mapping[str, Any]) -> Callable[[str], Any]:
    """Reads words for some values as well, as `none` for settings that can be switched off."""

    def read(text: str) -> Any:
        return words[text.lower()] if text.lower() in words else kind(text)

    read.__name__ = kind.__name__  # what argparse calls a value that cannot be read
    return read


def _key_value(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    parts = value.split(",")
    try:
        values = tuple(json.loads(part) for part in parts)
    except (json.JSONDecodeError, RecursionError):  # no number, list or the like: text as it is
        return key, value
    return key, values if len(values) > 1 else values[0]


def _shown(value: Any) -> str:
    """A default as it would be written on the command line."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, dict):
        return " ".join(f"{key}={_shown(v).replace(' ', ',')}" for key, v in value.items()) or "none"
    if isinstance(value, tuple):
        return " ".join(f"{v:.4g}" if isinstance(v, float) else str(v) for v in value) or "none"
    return str(value)

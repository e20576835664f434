"""Hostile command lines, and recipe files that they name."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path
from typing import Any

from twins.cli import COMMANDS, WITH_RECIPE, early_look, make_parser, parse
from twins.recipes import TASKS, find_recipe, list_recipes

from .mutation import mutated_json, odd_text, odd_value
from .sandbox import Attempt, Kind

_PLAIN = ("1", "0.5", "none", "a", "cpu", "runs", "twins_svt_small", "1 2", "x=1", "4,5")


def prepare_flags(folder: Path) -> dict[str, list[str]]:
    """The flags of each command."""
    return {command: sorted(_flags_of(command)) for command in COMMANDS}


def _flags_of(command: str) -> set[str]:
    flags: set[str] = set()
    for task in TASKS if command in WITH_RECIPE else ("classify",):
        parser = make_parser(early_look([command]), task)
        (commands,) = (action for action in parser._actions if hasattr(action, "choices") and action.dest == "command")
        flags |= set(commands.choices[command]._option_string_actions)  # type: ignore[index,call-overload]
    return flags


def command_lines(rng: random.Random, flags: dict[str, list[str]], folder: Path) -> Attempt:
    command = rng.choice(list(COMMANDS))
    argv = [command]
    if command in ("predict", "export", "compare") or rng.random() < 0.1:
        argv += [_value(rng) for _ in range(rng.choice((1, 2)))]
    if command in ("predict", "eval") and rng.random() < 0.8:
        argv += ["--weights", _value(rng)]
    if rng.random() < 0.3:
        argv += ["--task", rng.choice((*TASKS, *TASKS, odd_text(rng)))]
    for _ in range(rng.choice((1, 1, 2, 5))):
        flag = rng.choice(flags[command]) if rng.random() < 0.9 else odd_text(rng)
        values = [_value(rng) for _ in range(rng.choice((0, 1, 1, 1, 2)))]
        argv += [f"{flag}={values[0]}", *values[1:]] if values and rng.random() < 0.3 else [flag, *values]
    if rng.random() < 0.05:
        argv[0] = odd_text(rng)
    return partial(parse, argv)


def _value(rng: random.Random) -> str:
    if rng.random() < 0.4:
        return rng.choice(_PLAIN)
    text = odd_text(rng)
    key_value = (
        "depths=" + "[" * 100_000,
        "depths=" + "9" * 5000,
        "a=" + text,
        "=" + text,
        text + ".json",
        text + ".pth",
    )
    return rng.choice((text, text, text, *key_value))


def prepare_recipes(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """(task, fields) of each recipe by name."""
    return [(task, find_recipe(name, task).to_dict()) for task in TASKS for name in list_recipes(task)]


def recipes(rng: random.Random, known: list[tuple[str, dict[str, Any]]], folder: Path) -> Attempt:
    task, fields = rng.choice(known)
    if rng.random() < 0.2:
        fields = fields | {rng.choice(list(fields)): odd_value(rng), "model_kwargs": odd_value(rng)}
    content = fields if rng.random() < 0.5 else {"recipe": fields, "versions": {"torch": "2"}}
    path = folder / "recipe.json"
    path.write_bytes(mutated_json(rng, content))
    return partial(_resolve, path, rng.choice((task, task, *TASKS)))


def _resolve(path: Path, task: str) -> None:
    find_recipe(str(path), task).resolve(processes=2).to_dict()
    parse(["train", "--recipe", str(path)])


KINDS = (
    Kind("command lines", 12, prepare_flags, command_lines),
    Kind("recipe files", 8, prepare_recipes, recipes),
)

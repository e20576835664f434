"""A recipe's field together with its flag: what help says of it, which values it takes, which commands have it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

# Bounds of a number, both of them included.
ANY = (-math.inf, math.inf)
SOME = (1, math.inf)
SHARE = (0, 1)
NOT_NEGATIVE = (0, math.inf)

# Every field is a flag of `twins train`; some are flags of other commands too.
TRAIN = ("train",)
TRAIN_EVAL = ("train", "eval")
TRAIN_DATA = ("train", "data")
TRAIN_EVAL_DATA = ("train", "eval", "data")
TRAIN_EVAL_PREDICT = ("train", "eval", "predict")
TRAIN_EVAL_DATA_PREDICT = ("train", "eval", "data", "predict")


def flag(
    default: Any,
    help: str,
    *aliases: str,
    group: str,
    choices: tuple[str, ...] = (),
    within: tuple[float, float] = ANY,
    check: Callable[[Any], Any] | None = None,
    commands: tuple[str, ...] = TRAIN,
    words: Mapping[str, Any] | None = None,
    unless_given: Mapping[str, str] | None = None,
) -> Any:
    """A field of a recipe and, by the same name, a flag.

    Parameters
    ----------
    aliases:
        Other spellings of the flag.
    group:
        The heading in help that it stands under.
    choices, within:
        The values that it takes: one of these strings, or a number between these two.
    check:
        Raises TwinsError for a value that it does not take.
    commands:
        The commands of `twins` that have the flag.
    words:
        Values that have a name on the command line.
    unless_given:
        What a command does without the flag, where that is not what the recipe or the checkpoint's run says.
    """
    metadata = {
        "help": help,
        "aliases": aliases,
        "group": group,
        "choices": choices,
        "within": within,
        "check": check,
        "commands": commands,
        "words": words or {},
        "unless_given": unless_given or {},
    }
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: dict(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def fields_of(cls: type[Any], command: str) -> list[dataclasses.Field[Any]]:
    """The fields of a recipe that are flags of a command."""
    return [field for field in dataclasses.fields(cls) if command in field.metadata.get("commands", ())]

"""Programs that deliver tar shards, as `--data 'pipe:curl -sf URL'` names them: run when a user says so, and only then.

A recipe's file or a checkpoint may come from anybody. A pipe that was read from one is kept, but its name no longer
begins so that it would be run.
"""

from __future__ import annotations

from typing import Any

PIPE = "pipe:"
NOT_RUN = "not-run-"  # before the name of a pipe that came from a file
_FIELDS = ("data", "val_shards")


def not_run(values: dict[str, Any]) -> dict[str, Any]:
    """The fields of a recipe as a file gives them, with pipes that do nothing."""
    pipes = {f: values[f] for f in _FIELDS if isinstance(values.get(f), str) and values[f].startswith(PIPE)}
    return values | {field: f"{NOT_RUN}{pipe}" for field, pipe in pipes.items()}


def as_first_given(data: str) -> str:
    """Data from a file as the user gave it to the run that wrote the file."""
    return data.removeprefix(NOT_RUN)

"""The job that torchrun runs, which goes on over several attempts."""

from __future__ import annotations

import os
from pathlib import Path

from .collectives import all_gather_object


def agents_of_job() -> list[str]:
    """The torchrun processes of this job, one a machine, by names that no other job's have; every rank must call.

    [] without torchrun. An agent starts its ranks anew after a failure, so that two attempts of one job have at least
    one agent in common.
    """
    return sorted({agent for agent in all_gather_object(_agent_of_process()) if agent})


def _agent_of_process() -> str:
    """torchrun's folder for logs, made with a random name at its start: FOLDER/attempt_N/LOCAL_RANK/error.json."""
    error_file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if not error_file or "TORCHELASTIC_RUN_ID" not in os.environ:
        return ""
    folder = Path(error_file).parents[2]
    return f"{folder.parent.name}/{folder.name}"


def restarts_are_left() -> bool:
    """Whether torchrun starts this job's ranks again when they fail."""
    made, most = (int(os.environ.get(f"TORCHELASTIC_{name}", 0)) for name in ("RESTART_COUNT", "MAX_RESTARTS"))
    return made < most

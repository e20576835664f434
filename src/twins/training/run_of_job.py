"""The run that earlier attempts of a torchrun job were at, which the next one goes on with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..distributed.collectives import on_main
from ..distributed.torchrun import agents_of_job
from .run_folder import NEWEST


@dataclass(frozen=True)
class RunOfJob:
    """A run's folder as an attempt left it."""

    folder: Path
    checkpoint: Path | None  # the newest; None: the attempt did not get so far
    finished: bool


def find_run_of_job(output: str, resumed: Path | None) -> RunOfJob | None:
    """The run that this job made or went on with before, below `output` or in `resumed`; None at the job's start.

    It is the newest whose `recipe.json` names an agent of the job. Every rank must call; the main process looks.
    """
    agents = set(agents_of_job())
    return on_main(lambda: _newest_run_of(agents, output, resumed)) if agents else None


def _newest_run_of(agents: set[str], output: str, resumed: Path | None) -> RunOfJob | None:
    records = [*Path(output).glob("*/*/recipe.json"), *([resumed / "recipe.json"] if resumed is not None else [])]
    ours = [record for record in records if agents & set(_agents_named_by(record))]
    if not ours:
        return None
    folder = max(ours, key=lambda record: record.stat().st_mtime).parent
    checkpoint = folder / NEWEST
    return RunOfJob(folder, checkpoint if checkpoint.exists() else None, (folder / "summary.json").exists())


def _agents_named_by(record: Path) -> list[str]:
    """What a run's `recipe.json` says of who started its ranks; [] for a file that is none of ours."""
    try:
        agents: Any = json.loads(record.read_bytes())["ran_on"]["agents"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
    return [agent for agent in agents if isinstance(agent, str)] if isinstance(agents, list) else []

"""Tiny runs as a scheduler starts them, again and again with the same command, and how they end."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from killable_runs import Ranks
from run_contents import contents
from tiny_runs import TinyRun, write_recipe
from twins import cli

# What runs import when they need it: every process that is forked has it then.
_LATE = ("timm.data", "timm.optim", "timm.scheduler", "timm.utils", "torchvision", "faster_coco_eval",
         "twins.training.loop", "twins.commands.train")  # fmt: skip


class Case(NamedTuple):
    """A tiny run on so many processes."""

    run: TinyRun
    processes: int

    def __str__(self) -> str:
        return f"{self.run.task} {self.run.name}, {self.processes} processes"


class Reference(NamedTuple):
    """What an uninterrupted run left, and how long it took."""

    content: dict[str, str]
    seconds: float


class BadEndError(Exception):
    """A run ended, or did not, as none should."""


def preload() -> None:
    """Import what runs need, once for all."""
    for module in _LATE:
        import_module(module)


def uninterrupted(case: Case, data: Path, output: Path) -> Reference:
    """Raises BadEndError where it does not come to its end."""
    ranks = start(case, data, output)
    ended = ranks.wait(until=300)
    seconds = ranks.age
    check_end(ranks, ended, output)
    return Reference(contents(finished_folder(output)), seconds)


def start(case: Case, data: Path, output: Path) -> Ranks:
    recipe = write_recipe(case.run, case.processes, data, output)

    def train() -> int:
        print_into(output)
        return cli.main(command(recipe))

    return Ranks(case.processes, train)


def command(recipe: Path) -> list[str]:
    """What is said to `twins`, the first time and every other time."""
    return ["train", "--recipe", str(recipe), "--resume"]


def console(output: Path) -> Path:
    """What all attempts print."""
    return output.with_suffix(".txt")


def print_into(output: Path) -> None:
    """Let this process print there."""
    file = os.open(console(output), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)


def check_end(ranks: Ranks, ended: bool, output: Path) -> None:
    bad = any(ranks.statuses.values())
    seconds, statuses = ranks.age, ranks.end()
    if not ended or bad:
        what = f"ended with {statuses}" if bad else f"did not end within {seconds:.0f} s"
        last = console(output).read_text().strip().splitlines()[-1:]
        raise BadEndError(f"{what}: {''.join(last)}")


def finished_folder(output: Path) -> Path:
    """Raises BadEndError unless there is one."""
    folders = [summary.parent for summary in output.glob("*/*/summary.json")]
    if len(folders) != 1:
        raise BadEndError(f"{len(folders)} runs came to their end")
    return folders[0]

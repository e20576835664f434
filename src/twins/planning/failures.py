"""What checkpoints and failures take of a run."""

from __future__ import annotations

from typing import NamedTuple

from .assumptions import RESTART_SECONDS, SAVE_SECONDS


class Losses(NamedTuple):
    """Of a run, in seconds unless it says otherwise."""

    saving: float  # that training waits for checkpoints
    failures: float  # expected, a number
    repeated: float  # work that is done again, and time to start again


def losses_of(training: float, epochs: int, gpus: int, save_every: float, mtbf: float) -> Losses:
    """Of a run that computes for `training` seconds, saves every so many and after each epoch.

    `mtbf` are hours between two failures that one GPU causes. Each failure stops all, and takes half the time between
    two checkpoints with it; failures while work is repeated are left out.
    """
    saves = training / save_every + epochs
    failures = training / 3600 * gpus / mtbf
    return Losses(saves * SAVE_SECONDS, failures, failures * (save_every / 2 + RESTART_SECONDS))

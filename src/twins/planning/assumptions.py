"""What a plan takes for granted, each with where it comes from; whoever knows better says so by a flag."""

from __future__ import annotations

from dataclasses import dataclass

ROOFLINE_SHARES = (0.4, 0.7)  # that operators reach of what the GPU's peaks allow, least and most; docs/planning.md
LINK_SHARE = 0.7  # of a link's peak that an all-reduce reaches
OPERATOR_SECONDS = (16e-6, 8e-6)  # that the host takes to start an operator: measured here by benchmarks/plans.py, half
SAVE_SECONDS = 0.5  # that training waits for a checkpoint
RESTART_SECONDS = 300.0  # from a failure until the next update
LIBRARIES = 1.0  # GB that CUDA and its libraries take on a GPU
NETWORK = 400  # Gbit/s of a node of eight GPUs
CORES = 12  # CPU cores a GPU
SAVE_EVERY = 600  # seconds
MTBF = 50_000  # hours between two failures that one GPU causes


@dataclass(frozen=True, kw_only=True)
class Assumptions:
    """The settings of a plan. None: by the model, or the GPU's own."""

    mfu: float | None = None  # share of the peak that the network's products reach
    images_per_second: float | None = None  # that a GPU was measured to train on
    price: float | None = None  # dollars an hour and GPU
    network: float = NETWORK
    cores: float = CORES
    save_every: float = SAVE_EVERY
    save_updates: int | None = None  # between two checkpoints, instead of seconds
    mtbf: float = MTBF

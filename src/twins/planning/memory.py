"""What a step holds in a GPU's memory."""

from __future__ import annotations

from typing import NamedTuple

from .assumptions import LIBRARIES
from .counted_step import CountedStep

_SINGLE = 4  # bytes of a float32
_STATES = {"adam": 2, "adamw": 2, "nadam": 2, "nadamw": 2, "radam": 2, "lamb": 2, "lion": 1, "sgd": 1, "momentum": 1,
           "nesterov": 1, "rmsprop": 1, "adagrad": 1}  # fmt: skip  # numbers that an optimiser keeps for each weight
_STATES_OF_OTHERS = 2


class GpuMemory(NamedTuple):
    """GB (10^9 bytes) of one GPU."""

    weights: float  # float32, and their moving average
    gradients: float  # and, on several GPUs, the buckets in which they are added up
    optimizer: float
    activations: float  # that wait for the backward pass
    working: float  # what one operator reads and writes, at most
    libraries: float

    @property
    def total(self) -> float:
        return sum(self)


def states_per_weight(opt: str) -> int:
    """How many numbers an optimiser keeps for each weight; of one that is not known here, Adam's two."""
    return _STATES.get(opt.lower(), _STATES_OF_OTHERS)


def memory_of(step: CountedStep, opt: str, ema: bool, gpus: int) -> GpuMemory:
    """What a step of the recipe takes, with an optimiser by timm's name."""
    largest = max(operator.bytes for operator in step.operators)
    return GpuMemory(
        weights=_SINGLE * step.parameters * (1 + ema) / 1e9,
        gradients=_SINGLE * step.trained * (1 + (gpus > 1)) / 1e9,
        optimizer=_SINGLE * step.trained * states_per_weight(opt) / 1e9,
        activations=step.kept / 1e9,
        working=largest / 1e9,
        libraries=LIBRARIES,
    )

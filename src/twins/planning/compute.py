"""How long a GPU computes on a step: by the roofline of each operator, by a share of its peak, or as it was measured.

The roofline takes each operator for as long as its products take at the GPU's peak, or its bytes at the bandwidth of
its memory, whichever is more. These networks are made of many small operators: on most GPUs that time goes into memory,
and a share of the peak that was seen on one of them does not hold on another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .counted_step import CountedStep, Operator
from .hardware import Gpu

MEMORY, PRODUCTS, STARTING = "memory bandwidth", "matrix products", "starting operators"  # what bounds the time
_UPDATE_TOUCHES = 7  # a weight, its gradient and two moments are read, three of these written
_CLIP_TOUCHES = 3  # the gradient is read for its norm, then read and written
_EMA_TOUCHES = 3  # the weight and its average are read, the average is written
_SINGLE = 4  # bytes of a float32


class Roofline(NamedTuple):
    """The least time that operators take on a GPU, in seconds, by what bounds each of them."""

    memory: float
    products: float

    @property
    def seconds(self) -> float:
        return self.memory + self.products


class StepTime(NamedTuple):
    """Seconds that a GPU computes on a step of `batch` images, and the part of it after the gradients begin to come."""

    seconds: float
    forward: float
    backward: float
    bound_by: str


def roofline(operators: Sequence[Operator], gpu: Gpu) -> Roofline:
    """Of operators one after the other."""
    memory = products = 0.0
    for operator in operators:
        moving = operator.bytes / (gpu.bandwidth * 1e9)
        multiplying = operator.flops / gpu.products(operator.precision)
        if multiplying > moving:
            products += multiplying
        else:
            memory += moving
    return Roofline(memory, products)


def time_by_roofline(step: CountedStep, gpu: Gpu, share: float, starting: float, clip: bool, ema: bool) -> StepTime:
    """A step where operators reach this share of their roofline, unless the host, with `starting` seconds for each,
    falls behind."""
    forward, backward = (roofline(operators, gpu) for operators in (step.forward, step.backward))
    update = update_bytes(step.trained, clip, ema) / (gpu.bandwidth * 1e9)
    computing = (forward.seconds + backward.seconds + update) / share
    if (host := len(step.operators) * starting) > computing:
        return StepTime(host, len(step.forward) * starting, len(step.backward) * starting, STARTING)
    in_memory = forward.memory + backward.memory + update > forward.products + backward.products
    return StepTime(computing, forward.seconds / share, backward.seconds / share, MEMORY if in_memory else PRODUCTS)


def time_by_mfu(step: CountedStep, gpu: Gpu, mfu: float) -> StepTime:
    """A step whose products reach this share of the GPU's peak in half precision over all the time."""
    return thirds(step.batch * step.flops_per_image / (gpu.products("half") * mfu), PRODUCTS)


def time_as_measured(batch: float, images_per_second: float) -> StepTime:
    """A step of a GPU that was seen to train on so many images a second."""
    return thirds(batch / images_per_second, "the GPU, as measured")


def thirds(seconds: float, bound_by: str) -> StepTime:
    """A third of a step is the forward pass, two thirds are the backward pass."""
    return StepTime(seconds, seconds / 3, 2 * seconds / 3, bound_by)


def update_bytes(trained: int, clip: bool, ema: bool) -> int:
    """What AdamW's fused update reads and writes, with clipping and a moving average, in float32."""
    return _SINGLE * trained * (_UPDATE_TOUCHES + clip * _CLIP_TOUCHES + ema * _EMA_TOUCHES)

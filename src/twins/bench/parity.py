"""No result without parity: how far outputs may lie from those of our plain network in float32."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from .plan import Backend


class Parity(NamedTuple):
    """An error beside its bound."""

    error: float
    bound: float
    tolerance: float = 0.0  # up to here there is a speed nevertheless, marked as one of another output

    @property
    def holds(self) -> bool:
        return self.error <= self.bound  # false for NaN

    @property
    def timed(self) -> bool:
        return self.error <= max(self.bound, self.tolerance)


def compare(backend: Backend, outputs: Sequence[Tensor], reference: Sequence[Tensor]) -> Parity:
    """Compare the outputs of a backend with the reference; the worst of several tensors counts.

    In float32 the error is the largest difference over the largest value, or over 1 where all are smaller: at most
    1e-5 for ours and 1e-4 for others. In bfloat16 and int8 it is the root mean square of the difference over that of
    the reference: at most 0.05 and 0.2.

    int8 of others is timed up to 1, as far away as an output of zeros: on weights that are drawn, calibrated ranges
    may cost more than on trained ones, which says nothing of speed. What int8 costs there, an accuracy case measures.
    """
    if [o.shape for o in outputs] != [r.shape for r in reference]:
        return Parity(math.inf, 0.0)
    ours = backend.engine in ("twins", "frozen")
    if backend.dtype == "fp32":
        return Parity(_worst(map(_largest_difference, outputs, reference)), 1e-5 if ours else 1e-4)
    bound = {"bf16": 0.05, "int8": 0.2}[backend.dtype]
    tolerance = 1.0 if backend.dtype == "int8" and not ours else 0.0
    return Parity(_worst(map(relative_rms, outputs, reference)), bound, tolerance)


def _worst(errors: map[float]) -> float:
    found = list(errors)
    return math.nan if any(map(math.isnan, found)) else max(found)


def _largest_difference(output: Tensor, reference: Tensor) -> float:
    return float((output.float() - reference).abs().max()) / max(1.0, float(reference.abs().max()))


def relative_rms(output: Tensor, reference: Tensor) -> float:
    """Root mean square of the difference over that of the reference."""
    return float((output.float() - reference).square().mean().sqrt() / reference.square().mean().sqrt())

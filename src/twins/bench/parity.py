"""No figure without parity: how far an answer may lie from that of our plain network in float32."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from .plan import Contender


class Parity(NamedTuple):
    """An error beside its bound."""

    error: float
    bound: float

    @property
    def holds(self) -> bool:
        return self.error <= self.bound  # false for NaN


def compare(contender: Contender, answer: Sequence[Tensor], reference: Sequence[Tensor]) -> Parity:
    """Compare what a contender answers with the reference, the worst of several tensors.

    In float32 the error is the largest difference over the largest value, or over 1 where all are smaller: at most
    1e-5 for ours and 1e-4 for others. In bfloat16 and int8 it is the root mean square of the difference over that of
    the reference: at most 0.05 and 0.2.
    """
    if [a.shape for a in answer] != [r.shape for r in reference]:
        return Parity(math.inf, 0.0)
    if contender.dtype == "fp32":
        ours = contender.engine in ("twins", "frozen")
        return Parity(_worst(map(_largest_difference, answer, reference)), 1e-5 if ours else 1e-4)
    bound = {"bf16": 0.05, "int8": 0.2}[contender.dtype]
    return Parity(_worst(map(_relative_rms, answer, reference)), bound)


def _worst(errors: map[float]) -> float:
    found = list(errors)
    return math.nan if any(map(math.isnan, found)) else max(found)


def _largest_difference(answer: Tensor, reference: Tensor) -> float:
    return float((answer.float() - reference).abs().max()) / max(1.0, float(reference.abs().max()))


def _relative_rms(answer: Tensor, reference: Tensor) -> float:
    return float((answer.float() - reference).square().mean().sqrt() / reference.square().mean().sqrt())

"""What the rest of the benchmark sees of a candidate: something to call, and the precision it really computes in."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from .plan import Contender

Answer = list[Tensor]
Weights = dict[str, Tensor]


class Loaded(NamedTuple):
    """A network as some library runs it."""

    call: Callable[[Tensor], Answer]  # images (B, 3, H, W) -> logits, or four maps
    ran: str  # the precision it really computes in
    executed: str = ""  # how many of its products do, where not all


class Runner(NamedTuple):
    """A contender at its start."""

    contender: Contender
    answer: Callable[[], Answer]  # what parity is judged by
    work: Callable[[], object]  # what is timed; the same where nothing is trained
    ran: str  # the precision it really computes in
    note: str = ""
    executed: str = ""  # how many of its products do, where not all


def runner(contender: Contender, answer: Callable[[], Answer], ran: str | None = None, executed: str = "") -> Runner:
    """One whose answer is its work; `ran` where that is not the precision asked for."""
    note = "" if ran in (None, contender.dtype) else f"ran {ran}, having no {contender.dtype} here"
    return Runner(contender, answer, answer, ran or contender.dtype, note, executed)

"""What the rest of the benchmark sees of a backend: functions to call, and the precision it really computes in."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from .plan import Backend

Outputs = list[Tensor]
Weights = dict[str, Tensor]


class Loaded(NamedTuple):
    """A network as some library runs it."""

    call: Callable[[Tensor], Outputs]  # images (B, 3, H, W) -> logits, or four maps
    actual_dtype: str  # the precision it really computes in
    executed: str = ""  # how many of its products do, where not all


class Runner(NamedTuple):
    """A backend that is loaded, with the images of its case."""

    backend: Backend
    outputs: Callable[[], Outputs]  # what parity is judged by
    work: Callable[[], object]  # what is timed; the same where nothing is trained
    actual_dtype: str  # the precision it really computes in
    note: str = ""
    executed: str = ""  # how many of its products do, where not all


def inference_runner(
    backend: Backend, infer: Callable[[], Outputs], actual_dtype: str | None = None, executed: str = ""
) -> Runner:
    """The runner of inference, where what is timed is what computes the outputs.

    `actual_dtype` where that is not the precision asked for.
    """
    note = "" if actual_dtype in (None, backend.dtype) else f"ran {actual_dtype}, having no {backend.dtype} here"
    return Runner(backend, infer, infer, actual_dtype or backend.dtype, note, executed)

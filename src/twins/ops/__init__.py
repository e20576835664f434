"""The seam between the network and what computes it: five sublayers, each of one signature in every backend.

Every sublayer takes a channels-last map `x_BHWC` (batch, height, width, channels) and the modules that hold its
parameters, so that a kernel may fuse the whole of it. Residual additions and drop-path stay with the caller. Formulas,
shapes and signatures stand in `reference.py`, the backend that defines the results; `eager` computes the same faster,
and `triton` faster still on a GPU. The environment variable `TWINS_OPS` (`auto`, `eager`, `reference` or `triton`) or
`use()` chooses one; `auto` is `triton` for maps on a GPU and `eager` elsewhere. The choice is logged once, when it is
made.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from types import ModuleType
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from . import eager, reference
from .geometry import WINDOW_PADDINGS

__all__ = [
    "WINDOW_PADDINGS",
    "backend",
    "for_export",
    "mlp",
    "patch_embed",
    "peg",
    "subsampled_attention",
    "use",
    "window_attention",
]

_NAMES = ("auto", "eager", "reference", "triton")
Sublayer = TypeVar("Sublayer", bound=Callable[..., Tensor])


def _choose(name: str) -> ModuleType | None:
    """A backend by its name; None where each map's device decides."""
    if name not in _NAMES:
        raise ValueError(f"sublayers (TWINS_OPS) run as one of {', '.join(_NAMES)}, not as {name!r}")
    if name == "auto":
        return None
    chosen = _gpu_backend() if name == "triton" else {"eager": eager, "reference": reference}[name]
    logging.getLogger(__name__).info("sublayers run as: %s", chosen.describe())
    return chosen


def _gpu_backend() -> ModuleType:
    """Imported when first needed: Triton is heavy, and looking for a GPU would start CUDA."""
    from .gpu_backend import chosen

    return chosen


_chosen = _choose(os.environ.get("TWINS_OPS", "auto"))


def backend(device: str | None = None, dtype: torch.dtype | None = None) -> str:
    """Which backend computes the sublayers, in words; of maps on a `device` ("cpu" or "cuda"), where one is named.

    `dtype` is what autocast computes in, on which the attention of a training step depends.
    """
    if _chosen is None and device is None and torch.cuda.is_available():
        return f"{eager.describe()}; kernels for maps on a GPU"
    chosen = _chosen or (_gpu_backend() if device == "cuda" else eager)
    return eager.describe(device, dtype) if chosen is eager else str(chosen.describe())


@contextmanager
def use(name: str) -> Iterator[None]:
    """Compute by the named backend inside a `with` block. Raises ValueError for an unknown name."""
    global _chosen
    before, _chosen = _chosen, _choose(name)
    try:
        yield
    finally:
        _chosen = before


def for_export() -> AbstractContextManager[None]:
    """Compute, inside a `with` block, as an exporter should record it.

    No branch depends on a map's size, so that one graph is right for all sizes whose axes are no shorter than a kernel,
    and no tensor has more than five axes, which is all that several runtimes take.
    """
    return use("reference")


def _by_backend(sublayer: Sublayer) -> Sublayer:
    """The sublayer, signature and docstring, by the backend that is chosen, or else that of its map's device.

    Arguments are passed on as they come, since taking x_BHWC out of them would copy the others at every call.
    """
    name = sublayer.__name__

    @wraps(sublayer)
    def run(*args: Any, **kwargs: Any) -> Tensor:
        x_BHWC = args[0] if args else kwargs["x_BHWC"]
        y: Tensor = getattr(_chosen or (_gpu_backend() if x_BHWC.is_cuda else eager), name)(*args, **kwargs)
        return y

    return cast(Sublayer, run)


patch_embed = _by_backend(reference.patch_embed)
peg = _by_backend(reference.peg)
window_attention = _by_backend(reference.window_attention)
subsampled_attention = _by_backend(reference.subsampled_attention)
mlp = _by_backend(reference.mlp)

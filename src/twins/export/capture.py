"""Recording a network as a graph, by torch.export."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.fx.experimental._config
from torch.export import ExportedProgram

from .. import ops
from .exportable import Exportable
from .shape import Shape


def captured(network: Exportable, shape: Shape, in_chans: int, least: int) -> ExportedProgram:
    """The network as one graph for all images that `shape` allows. Raises whatever torch.export raises."""
    images = torch.zeros(shape.example(in_chans, least))
    with torch.no_grad(), ops.for_export(), for_every_length():
        return torch.export.export(
            network,
            (images,),
            dynamic_shapes=(shape.dynamic(least),),
            prefer_deferred_runtime_asserts_over_guards=True,
        )


@contextmanager
def for_every_length() -> Iterator[None]:
    """Record with no regard to an axis of length 0 or 1, for which PyTorch would otherwise want graphs of their own."""
    settings: Any = torch.fx.experimental._config
    with settings.patch(backed_size_oblivious=True), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PyTorch's, of its own parts
        yield

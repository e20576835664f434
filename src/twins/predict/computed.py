"""Where a network that predicts is computed, and by what."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from ..checkpoints.info import CheckpointInfo
from ..distributed.world import choose_device
from ..errors import TwinsError, nearest
from ..native import DTYPES, freeze
from ..networks import device_for
from ..runtimes.exported_info import ExportedInfo


class Computed(NamedTuple):
    """Where a network computes, and by what: PyTorch, or the CPU engine in one of its dtypes."""

    device: torch.device
    dtype: str | None  # of `freeze`; None: PyTorch computes

    @classmethod
    def by(cls, device: str, dtype: str | None) -> Computed:
        """As `load_predictor` takes them. Raises TwinsError for what is not there, or does not go together."""
        if dtype is None:
            return cls(choose_device(device), None)
        if dtype not in DTYPES:
            raise TwinsError(f"--dtype must be one of {', '.join(DTYPES)}, not {dtype!r}{nearest(dtype, DTYPES)}")
        if device not in ("auto", "cpu"):
            raise TwinsError(f"--device {device}: the engine of --dtype {dtype} is for the CPU; leave one of them out")
        return cls(torch.device("cpu"), dtype)

    def for_network(self, info: CheckpointInfo, device: str) -> Computed:
        """The same, unless an exported file's own runtime computes; `device` as `by` took it.

        Raises TwinsError for a dtype then: the file has its own.
        """
        if not isinstance(info, ExportedInfo):
            return self
        if self.dtype is not None:
            raise TwinsError(
                f"{info.source}: computes in {info.network.description.dtype}, as it was exported: leave --dtype out"
            )
        return self._replace(device=torch.device(device_for(info, device)))

    def ready(self, model: nn.Module) -> nn.Module:
        """The network in evaluation mode, there; the engine takes its weights."""
        if self.dtype is None:
            return model.to(self.device).eval()
        return freeze(model, self.dtype, release=True)

"""Images a second of a network at batch 1 in every form that it has on this machine: the exported file beside ours."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..native import DTYPES, freeze
from ..native.library import missing
from ..progress import rounded_speed
from ..runtimes.modules import ExportedModule
from ..timing import Pace, alternate

PACE = Pace(blocks=3, seconds=0.3, limit=60.0)


def measure_speeds(original: nn.Module, exported: ExportedModule, image: Tensor, own: Tensor) -> dict[str, float]:
    """By what computes: medians over blocks by turns, so that a busy moment of the machine falls on all.

    Parameters
    ----------
    original:
        The network in PyTorch, in evaluation mode.
    image, own:
        One image (C, H, W) as the exported network takes it, and as the original does.
    """
    ours: dict[str, nn.Module] = {"PyTorch": original}
    if missing() is None:
        ours |= {f"twins.freeze {dtype}": freeze(copy.deepcopy(original), dtype, release=True) for dtype in DTYPES}
    calls: dict[str, Callable[[], object]] = {
        title: _call(network, own, exported.takes_lists) for title, network in ours.items()
    }
    calls[exported.network.runtime] = _call(exported, image, exported.takes_lists)
    times: dict[str, list[float]] = {}
    alternate(calls, PACE, times)
    return {title: rounded_speed(1 / statistics.median(blocks)) for title, blocks in times.items()}


def _call(network: nn.Module, image: Tensor, as_list: bool) -> Callable[[], object]:
    images = [image] if as_list else image[None]

    def call() -> object:
        with torch.inference_mode():
            return network(images)

    return call

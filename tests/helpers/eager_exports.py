"""Exported networks without the time that an exporter takes: computed by PyTorch in its exported form."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from twins.export.eager_network import EagerNetwork
from twins.export.exportable import as_exportable
from twins.export.exporting import _describe
from twins.export.shape import Shape
from twins.networks import info_of, open_network
from twins.runtimes.exported_info import ExportedInfo, info_of_exported


def network_in(weights: Path) -> nn.Module:
    """The trained network of a checkpoint."""
    return open_network(info_of(weights), torch.device("cpu")).model.eval()


def as_exported(weights: Path, batch: int | None = None, size: tuple[int, int] | None = None) -> ExportedInfo:
    """What a file exported from a checkpoint would be, opened."""
    info = info_of(weights)
    assert info.preprocessing is not None
    network = as_exportable(network_in(weights), info.preprocessing)
    description = _describe(info, network, Shape(batch, size), "fp32")
    return info_of_exported(EagerNetwork(weights.with_suffix(".onnx"), description, network))

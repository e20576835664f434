"""The network of an exported file as it was before, computed by PyTorch: what the file is compared with."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from ..runtimes.description import Description
from ..runtimes.network import ExportedNetwork


class EagerNetwork(ExportedNetwork):
    """Called as the exported file is, with the same outputs by name.

    `network` maps (B, C, H, W) images in [0, 1] to a dictionary of them. What it gives is float32 whatever the file is.
    """

    def __init__(self, path: Path, description: Description, network: nn.Module) -> None:
        super().__init__(path, description, f"PyTorch {torch.__version__}, cpu, fp32")
        self.network = network

    @torch.no_grad()
    def compute(self, images: Tensor) -> list[Tensor]:
        outputs = self.network(images)
        return [outputs[name] for name in self.description.outputs]

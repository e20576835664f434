"""Running totals of an epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


def totals_dtype(device: torch.device) -> torch.dtype:
    """What losses are added up in: float64 wherever there is one."""
    return torch.float32 if device.type == "mps" else torch.float64


@dataclass
class EpochTotals:
    """Sums over the updates of an epoch and over all ranks. They stay on the device: only `read` waits for it."""

    lr: float  # the learning rate at the start of the epoch
    sums: Tensor  # (3,): loss times images, images, losses that were not finite

    @classmethod
    def begin(cls, lr: float, device: torch.device, saved: Mapping[str, float]) -> EpochTotals:
        """At the start of an epoch, or of the rest of one that was interrupted: `saved` is what `pack` made of it."""
        sums = [saved.get("loss", 0.0), saved.get("images", 0.0), 0.0]
        return cls(saved.get("lr", lr), torch.tensor(sums, dtype=totals_dtype(device), device=device))

    def add(self, update: Tensor) -> None:
        """Add the first three sums of an UpdateReport."""
        self.sums += update[:3].to(self.sums)

    @property
    def any_not_finite(self) -> Tensor:
        """(), float32: 1 from the first update on whose loss was not finite, 0 before."""
        return (self.sums[2] > 0).float()

    def read(self) -> tuple[float, float]:
        """(loss times images, images)."""
        loss, images, _ = self.sums.tolist()
        return loss, images

    def pack(self) -> dict[str, float]:
        """As plain numbers, for a checkpoint."""
        loss, images = self.read()
        return {"loss": loss, "images": images, "lr": self.lr}

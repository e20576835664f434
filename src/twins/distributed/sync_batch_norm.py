"""Batch norm with statistics over all ranks, so that two halves of a batch are normalised as the whole is."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn


def synchronise_batch_norms(model: nn.Module, device: torch.device) -> None:
    """Replace every batch norm in a model by one over all ranks; parameters and buffers stay the same tensors."""
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, PlainSyncBatchNorm(child))


class PlainSyncBatchNorm(nn.BatchNorm2d):
    """torch.nn.SyncBatchNorm, which runs on GPUs alone, for every device: (B, C, H, W) to the same shape and dtype.

    Each rank may have another B, H and W; all of their values weigh alike. In evaluation it is an ordinary batch norm.
    """

    def __init__(self, alone: nn.BatchNorm2d) -> None:
        super().__init__(alone.num_features, alone.eps, alone.momentum)
        self._parameters.update(alone._parameters)
        self._buffers.update(alone._buffers)
        self.train(alone.training)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x_BCHW)
        x = x_BCHW.to(self.weight.dtype)  # statistics of half precision would be off
        count = _SumOverRanks.apply(x.new_tensor(x.numel() // self.num_features))
        mean = _SumOverRanks.apply(x.sum(dim=(0, 2, 3))) / count
        centred = x - mean[:, None, None]
        variance = _SumOverRanks.apply(centred.square().sum(dim=(0, 2, 3))) / count
        self._remember(mean.detach(), variance.detach() * count / (count - 1))
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x_BCHW.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked += 1


class _SumOverRanks(torch.autograd.Function):
    """The sum of a tensor over all ranks. Every rank's loss depends on it, so the gradient is a sum as well."""

    @staticmethod
    def forward(ctx: Any, mine: Tensor) -> Tensor:
        return _summed(mine)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _summed(gradients[0])


def _summed(mine: Tensor) -> Tensor:
    total = mine.clone()
    torch.distributed.all_reduce(total)
    return total

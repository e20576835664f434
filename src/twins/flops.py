"""Multiply-adds of a network for one image, counted while it runs on PyTorch's meta device: shapes without numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

_aten = torch.ops.aten
_PROJECTIONS = {_aten.convolution, _aten.mm, _aten.addmm}
_LAYER_NORM_COST = 5  # operations per element, as fvcore counts a norm with weight and bias


class Flops(NamedTuple):
    """Operations for one image; a multiply-add counts as one. Two conventions are in use, so say which one you cite.

    `projections`, multiply-adds of convolutions and linear layers, is the "FLOPs" column of the public README.
    `total` adds the two matrix products of every attention and the norms, as the tool fvcore does.
    """

    projections: int
    attention: int
    layer_norm: int

    @property
    def total(self) -> int:
        return sum(self)


def count_flops(model: nn.Module, size: int | tuple[int, int] = 224) -> Flops:
    """The operations of `model`, as it stands, for one image of `size` pixels: a side, or (height, width).

    Nothing is computed and the model is left as it was. The image has `model.in_chans` channels, or 3 if there is no
    such attribute. In windows that stick out of the map, padding that is computed is counted.
    """
    height, width = (size, size) if isinstance(size, int) else size
    tensors = {name: t.to("meta") for name, t in [*model.named_parameters(), *model.named_buffers()]}
    dtype = next(model.parameters()).dtype
    image = torch.empty(1, getattr(model, "in_chans", 3), height, width, dtype=dtype, device="meta")
    counter = FlopCounterMode(display=False, custom_mapping={_aten.native_layer_norm: _count_layer_norm})
    with counter, torch.no_grad():
        functional_call(model, tensors, (image,))

    counts = counter.get_flop_counts()["Global"]
    layer_norm = counts.pop(_aten.native_layer_norm, 0)
    products = {op: count // 2 for op, count in counts.items()}  # PyTorch counts a multiply-add as two
    projections = sum(count for op, count in products.items() if op in _PROJECTIONS)
    return Flops(projections, sum(products.values()) - projections, layer_norm)


def _count_layer_norm(shape: Sequence[int], *_: Any, **__: Any) -> int:
    return _LAYER_NORM_COST * math.prod(shape)

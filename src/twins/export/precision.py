"""Networks that compute in float16 or bfloat16 while images and outputs stay float32."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils._pytree import tree_map_only

from ..heads.segmentation import ConvNormReLU
from .exportable import Exportable
from .trunks import last_layers, outermost_trunks

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


def in_precision(network: Exportable, dtype: str) -> Exportable:
    """A copy whose trunks hold their weights and compute in `dtype`, "fp16" or "bf16"; for another, the network itself.

    Float32 stay images, outputs, the last layers, what a detector does with logits and deltas, and the resizing of a
    segmenter's logits. So do the statistics of LayerNorm, which PyTorch and ONNX compute in float32 of any input. Those
    of batch norm are numbers that float16 may not hold, and are multiplied into the convolutions first.
    """
    if dtype not in DTYPES:
        return network
    lower = copy.deepcopy(network).eval()
    _fold_batch_norms(lower)
    for name in outermost_trunks(lower):
        trunk = lower.get_submodule(name).to(DTYPES[dtype])
        _cast_inputs(trunk, DTYPES[dtype])
        trunk.register_forward_hook(lambda _module, _inputs, outputs: _cast(outputs, torch.float32))
    for name in last_layers(lower):
        _cast_inputs(lower.get_submodule(name).to(torch.float32), torch.float32)
    return lower


def _cast_inputs(module: nn.Module, dtype: torch.dtype) -> None:
    module.register_forward_pre_hook(lambda _module, inputs: _cast(inputs, dtype))


def _cast(values: Any, dtype: torch.dtype) -> Any:
    """Tensors of floats, nested in whatever they are nested in, in another dtype.

    They become contiguous, for to keep their layout a graph would ask which it is, and that depends on the batch.
    """

    def cast(x: Tensor) -> Tensor:
        return x.to(dtype, memory_format=torch.contiguous_format) if x.is_floating_point() else x

    return tree_map_only(Tensor, cast, values)


def _fold_batch_norms(network: nn.Module) -> None:
    for layer in network.modules():
        if isinstance(layer, ConvNormReLU):
            assert isinstance(layer.conv, nn.Conv2d)
            assert isinstance(layer.bn, nn.BatchNorm2d)
            layer.conv = fuse_conv_bn_eval(layer.conv, layer.bn)
            layer.bn = nn.Identity()

"""`freeze`: a trained network as a module of the same outputs, computed by the CPU engine."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import TwinsError, nearest
from ..heads.base import DenseModel
from ..model import PATCH_SIZES, Twins, TwinsBackbone
from . import library
from .cpus import usable_threads
from .packing import DTYPES, pack
from .support import unsupported


def freeze(model: nn.Module, dtype: str = "fp32", release: bool = False) -> nn.Module:
    """A copy of the model for inference, as fast as this CPU allows; the model itself stays as it is.

    Parameters
    ----------
    model:
        A classifier or backbone of `create_model`; or a segmenter or detector, whose backbone is frozen while its neck
        and heads are copied and remain PyTorch's.
    dtype:
        What the linear layers and convolutions multiply. "fp32" computes what the model does, to rounding; "bf16"
        rounds their weights (and, where the CPU multiplies bfloat16, their inputs) to 8 significant bits; "int8" has
        weights in 8 bits with a scale per output channel, and inputs in 8 bits (7 without VNNI) with a scale per token,
        computed from each input. Norms, softmax, residuals and sums are in single precision throughout, and so is
        attention, except with AMX: there "bf16" and "int8" multiply queries, keys, values and attention weights in
        bfloat16.
    release:
        Let go of the model's weights while they are packed, so that memory never holds them twice. The model itself,
        or the backbone of a segmenter or detector, has none afterwards and cannot be used again.

    The result is called as the model is: float32 images (B, in_chans, H, W) on the CPU, of any batch and size, give
    float32 logits (B, num_classes), pooled features (B, num_features) of a classifier without classes, or a backbone's
    list of channels-last maps (B, C_s, H_s, W_s). It raises ValueError for images of another shape, dtype or device,
    and uses `torch.get_num_threads()` threads, but no more than the process has CPUs by its affinity and its
    container's quota, and says so once. Numbers below 1.2e-38 in magnitude count as 0. An image with NaN or infinity
    has outputs with NaN in every dtype. `torch.compile` and `torch.export` accept the result, and its `state_dict`
    holds its weights.

    Where the engine is not there or cannot take the network, PyTorch computes it in float32, and why is logged once;
    `backend` says which it was.

    Raises TwinsError for an unknown dtype, a model that is none of these or one without weights.
    """
    if dtype not in DTYPES:
        raise TwinsError(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}{nearest(dtype, DTYPES)}")
    if isinstance(model, DenseModel):
        copied = {id(model.backbone): freeze(model.backbone, dtype, release)}  # what deepcopy's memo holds stays out
        return copy.deepcopy(model, copied).eval().requires_grad_(False)
    if not isinstance(model, Twins | TwinsBackbone):
        raise TwinsError(
            f"freeze takes a Twins classifier, backbone, segmenter or detector, not a {type(model).__name__}"
        )
    if any(parameter.is_meta or parameter.numel() == 0 for parameter in model.parameters()):
        raise TwinsError("freeze needs the network's weights, and some are on the meta device or were released")
    reason = library.missing() or unsupported(model)
    if reason:
        _say_once(f"freeze: {reason}; PyTorch computes the network, in float32")
        return Unfrozen(model)
    if dtype != "fp32" and (reason := library.refused()):
        _say_once(f"freeze: {reason}; {library.instruction_set(dtype)} computes the network")
    return Frozen(model, dtype, release)


class Frozen(nn.Module):
    """A packed network. Made by `freeze`, called as the network it was made of; see there for shapes and errors.

    `packed` (bytes,) uint8 is its one buffer; `dtype` is what it multiplies, `backend` what computes it. What heads ask
    of a network it has as well: `in_chans`, and `embed_dims`, `feature_info`, `out_indices`, `num_classes` or
    `num_features` where the model has them.
    """

    packed: Tensor
    in_chans: int

    def __init__(self, model: Twins | TwinsBackbone, dtype: str, release: bool = False) -> None:
        super().__init__()
        self.dtype = dtype
        _describe_as(model, self)
        self.stages: list[int] = list(model.out_indices) if isinstance(model, TwinsBackbone) else []
        if isinstance(model, Twins):
            self.widths = [getattr(model.head, "out_features", model.num_features)]
        else:
            self.widths = [model.embed_dims[s] for s in self.stages]
        self.register_buffer("packed", pack(model, dtype, release))
        self.eval()

    @property
    def backend(self) -> str:
        """What computes it, in words: the engine, dtype and instruction set, such as "native, bf16, amx"."""
        return f"native, {self.dtype}, {library.instruction_set(self.dtype)}"

    def forward(self, images: Tensor) -> Tensor | list[Tensor]:
        images = _checked(images, self.in_chans)
        outputs: list[Tensor] = torch.ops.twins.frozen(images, self.packed, self.stages, self.widths)
        return outputs if self.stages else outputs[0]

    def extra_repr(self) -> str:
        return f"{self.backend}, {self.packed.numel() / 2**20:.1f} MiB"


class Unfrozen(nn.Module):
    """A copy of the network that PyTorch computes, where the engine cannot."""

    backend = "PyTorch, fp32"
    in_chans: int

    def __init__(self, model: Twins | TwinsBackbone) -> None:
        super().__init__()
        _describe_as(model, self)
        self.model = copy.deepcopy(model).cpu().float().eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Any:
        return self.model(_checked(images, self.in_chans))


@torch.library.custom_op("twins::frozen", mutates_args=(), device_types="cpu")
def _frozen(images: Tensor, packed: Tensor, stages: Sequence[int], widths: Sequence[int]) -> list[Tensor]:
    """Logits (B, widths[0]) if there are no `stages`; else a channels-last (B, widths[i], H_s, W_s) map for each."""
    outputs = _empty_outputs(images, packed, stages, widths)
    if images.numel():
        library.forward(images.contiguous(), packed, outputs, _threads())
    return outputs


def _threads() -> int:
    """As many as PyTorch would use, but no more than there are CPUs for; fewer is said once."""
    wanted = torch.get_num_threads()
    usable, reason = usable_threads(wanted)
    if usable < wanted:
        _say_once(f"freeze: {usable} of {wanted} threads are used, since {reason}")
    return usable


@_frozen.register_fake
def _empty_outputs(images: Tensor, packed: Tensor, stages: Sequence[int], widths: Sequence[int]) -> list[Tensor]:
    batch, _, height, width = images.shape
    if not stages:
        return [images.new_empty(batch, widths[0])]
    outputs = []
    for s, patch in enumerate(PATCH_SIZES):
        height, width = max(height // patch, 1), max(width // patch, 1)
        if s in stages:
            channels = widths[stages.index(s)]
            outputs.append(images.new_empty(batch, height, width, channels).permute(0, 3, 1, 2))
    return outputs


def _checked(images: Tensor, in_chans: int) -> Tensor:
    if images.ndim != 4 or images.shape[1] != in_chans or 0 in images.shape[2:]:
        raise ValueError(f"a frozen network takes (B, {in_chans}, H, W) images, not {tuple(images.shape)}")
    if images.dtype != torch.float32 or images.device.type != "cpu":
        raise ValueError(f"a frozen network takes float32 images on the CPU, not {images.dtype} on {images.device}")
    return images


def _describe_as(model: nn.Module, frozen: nn.Module) -> None:
    """Give the frozen network what heads and users ask a network about itself."""
    for name in ("in_chans", "embed_dims", "feature_info", "out_indices", "num_classes", "num_features"):
        if hasattr(model, name):
            setattr(frozen, name, copy.copy(getattr(model, name)))


@cache
def _say_once(text: str) -> None:
    logging.getLogger(__name__).warning(text)

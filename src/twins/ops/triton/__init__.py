"""Every sublayer by Triton kernels, on a GPU; whatever they do not take goes to the eager backend, call by call.

A kernel takes float32, float16 and bfloat16, without dropout, and modules as `model` builds them: a module of another
class (an adapter, a quantised layer) or with hooks is called as a module. Products with wide weights are the library's,
and so are those of float32 unless TF32 is allowed (`torch.set_float32_matmul_precision("high")`): without tensor cores
a kernel gains nothing.
Under autocast each sublayer computes in autocast's dtype and norms in float32, as the eager backend does on a GPU.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
import triton
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from .. import eager, reference
from ..geometry import pad_to_kernel, window_overhang
from .gsa_fused import fused_gsa
from .gsa_kernels import gsa
from .launch import INTERPRETED, float32_products
from .lsa_fused import MAX_WIDTH as MAX_FUSED_WIDTH
from .lsa_fused import fused_lsa
from .lsa_kernels import fits as lsa_fits
from .lsa_kernels import lsa
from .mlp_fused import fits as mlp_fits
from .mlp_fused import fused_mlp
from .norm_kernels import fits_tile, layer_norm
from .patch_projection import project_patches
from .peg_kernels import positional_encoding

__all__ = ["describe", "mlp", "patch_embed", "peg", "subsampled_attention", "window_attention"]

_NO_NORM = nn.Identity()  # for what is normed already
_HEAD_SIZES = (16, 32, 64)
# The interpreter's bfloat16 products are wrong.
_DTYPES = (torch.float32, torch.float16) if INTERPRETED else (torch.float32, torch.float16, torch.bfloat16)


def patch_embed(x_BHWC: Tensor, proj: nn.Conv2d, norm: nn.Module) -> Tensor:
    if not (_takes(x_BHWC, _dtype_of_products(x_BHWC)) and _plain(proj, nn.Conv2d)):
        return eager.patch_embed(x_BHWC, proj, norm)
    dtype = torch.float32 if torch.is_autocast_enabled(x_BHWC.device.type) else x_BHWC.dtype
    return _normed(project_patches(pad_to_kernel(x_BHWC, proj.kernel_size), proj), norm, dtype)


def peg(x_BHWC: Tensor, conv: nn.Conv2d) -> Tensor:
    if not (_takes(x_BHWC, _dtype_of_products(x_BHWC)) and _plain(conv, nn.Conv2d)):
        return eager.peg(x_BHWC, conv)
    assert conv.bias is not None
    return positional_encoding(x_BHWC, conv.weight, conv.bias)


def window_attention(
    x_BHWC: Tensor,
    norm: nn.Module,
    qkv: nn.Module,
    proj: nn.Module,
    heads: int,
    window: int,
    padding: str,
    dropout: float = 0.0,
) -> Tensor:
    _, H, W, C = x_BHWC.shape
    head_size, dtype = C // heads, _dtype_of_products(x_BHWC)
    # The interpreter has no shared memory to run out of, and in float32 shows best whether a kernel is right.
    fits = INTERPRETED or lsa_fits(window, head_size, dtype)
    if not (_multiplies(x_BHWC, dtype) and head_size in _HEAD_SIZES and fits):
        return eager.window_attention(x_BHWC, norm, qkv, proj, heads, window, padding, dropout)
    below, beside, masked = window_overhang(H, W, window, padding)
    if C <= MAX_FUSED_WIDTH and _plain(norm, nn.LayerNorm) and _linear(qkv, proj):
        parameters = *_norm_of(norm), *_weights(qkv, dtype), *_weights(proj, dtype)
        return F.dropout(fused_lsa(x_BHWC, *parameters, heads, window, masked), dropout)
    qkv_BHWX = qkv(_normed(x_BHWC, norm, dtype))
    fill_X = qkv(x_BHWC.new_zeros(C)) if (below or beside) and not masked else None
    return F.dropout(proj(lsa(qkv_BHWX, fill_X, heads, window)), dropout)


def subsampled_attention(
    x_BHWC: Tensor,
    norm: nn.Module,
    q: nn.Module,
    kv: nn.Module,
    proj: nn.Module,
    heads: int,
    sr: nn.Conv2d | None,
    sr_norm: nn.Module | None,
    dropout: float = 0.0,
) -> Tensor:
    dtype = _dtype_of_products(x_BHWC)
    if not (_multiplies(x_BHWC, dtype) and x_BHWC.shape[3] // heads in _HEAD_SIZES):
        return eager.subsampled_attention(x_BHWC, norm, q, kv, proj, heads, sr, sr_norm, dropout)
    x = _normed(x_BHWC, norm, dtype)
    x_sr = x if sr is None or sr_norm is None else patch_embed(x, sr, sr_norm)
    kv_BMX = kv(x_sr).flatten(1, 2)
    if x.shape[3] <= MAX_FUSED_WIDTH and _linear(q, proj):
        y = fused_gsa(x.flatten(1, 2), *_weights(q, dtype), kv_BMX, *_weights(proj, dtype), heads)
        return F.dropout(y.view(x.shape), dropout)
    y, _ = gsa(q(x).flatten(1, 2), kv_BMX, heads)
    return F.dropout(proj(y.view(x.shape)), dropout)


def mlp(x_BHWC: Tensor, norm: nn.Module, fc1: nn.Module, fc2: nn.Module, dropout: float = 0.0) -> Tensor:
    C, dtype = x_BHWC.shape[3], _dtype_of_products(x_BHWC)
    if not _takes(x_BHWC, dtype):
        return eager.mlp(x_BHWC, norm, fc1, fc2, dropout)
    hidden = getattr(fc1, "out_features", 0)
    plain = _plain(norm, nn.LayerNorm) and _linear(fc1, fc2) and mlp_fits(C, hidden)
    if dropout or not (_multiplies(x_BHWC, dtype) and plain):
        return reference.mlp(_normed(x_BHWC, norm, dtype), _NO_NORM, fc1, fc2, dropout)
    y: Tensor = fused_mlp(x_BHWC.reshape(-1, C), *_norm_of(norm), *_weights(fc1, dtype), *_weights(fc2, dtype))
    return y.view(x_BHWC.shape)


def _normed(x: Tensor, norm: nn.Module, dtype: torch.dtype) -> Tensor:
    """A norm's output in `dtype`. A compiler gets the norm as it is: it makes one kernel of that and its neighbours."""
    takes = _takes(x, _dtype_of_products(x)) and _plain(norm, nn.LayerNorm) and fits_tile(x.shape[-1])
    if torch.compiler.is_compiling() or not takes:
        y: Tensor = norm(x)
        return y.to(dtype)
    return layer_norm(x, *_norm_of(norm), dtype)


def describe() -> str:
    """This backend and its versions in words."""
    where = "interpreted" if INTERPRETED else "on a GPU"
    return f"Triton {triton.__version__} kernels {where}, PyTorch {torch.__version__}"


def _takes(x: Tensor, dtype: torch.dtype) -> bool:
    """Whether the kernels run on the map's device and take the map, with products in `dtype`."""
    return (x.is_cuda or INTERPRETED) and x.dtype in _DTYPES and dtype in _DTYPES


def _multiplies(x: Tensor, dtype: torch.dtype) -> bool:
    """Whether a kernel's products gain from tensor cores, which float32 at its highest precision does not use."""
    plain = dtype == torch.float32 and float32_products() == "ieee"
    return _takes(x, dtype) and (INTERPRETED or not plain)


def _dtype_of_products(x: Tensor) -> torch.dtype:
    """What matrix products of this map are computed in: its own dtype, or autocast's."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def _plain(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a module is what its weight and bias say: of this very class, with both of them, and without hooks."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    if type(module) is not kind or any(hooks):
        return False
    return not any(parameter is None or is_traceable_wrapper_subclass(parameter) for parameter in _parameters(module))


def _parameters(module: Any) -> tuple[Tensor | None, Tensor | None]:
    return module.weight, module.bias


def _linear(*layers: nn.Module) -> bool:
    return all(_plain(layer, nn.Linear) for layer in layers)


def _norm_of(norm: Any) -> tuple[Tensor, Tensor, float]:
    return norm.weight, norm.bias, norm.eps


def _weights(linear: Any, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Weight and bias of a linear layer, in the dtype of its products."""
    return linear.weight.to(dtype), linear.bias.to(dtype)

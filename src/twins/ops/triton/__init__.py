"""Every sublayer by Triton kernels, on a GPU; whatever they do not take goes to the eager form, call by call.

A kernel takes float32, float16 and bfloat16, without dropout, and modules as `model` builds them: a module of another
class (an adapter, a quantised layer) or with hooks is called as a module. Products with wide weights are the library's,
and so are those of float32 unless TF32 is allowed (`torch.set_float32_matmul_precision("high")`): without tensor cores
a kernel gains nothing.
Under autocast each sublayer computes in autocast's type and norms in float32, as the eager form does.
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
from .gsa_fused import whole_summary_attention
from .gsa_kernels import attend_to_summary
from .launch import INTERPRETED, float32_products
from .lsa_fused import MAX_WIDTH as MAX_SUBLAYER_WIDTH
from .lsa_fused import whole_window_attention
from .lsa_kernels import attend_in_windows
from .lsa_kernels import fits as window_fits
from .mlp_fused import fits as mlp_fits
from .mlp_fused import normed_mlp
from .norm_kernels import fits_a_tile, layer_norm
from .patch_projection import project_patches
from .peg_kernels import add_positions

__all__ = ["describe", "mlp", "patch_embed", "peg", "subsampled_attention", "window_attention"]

_DONE = nn.Identity()  # the norm of what is normed already
_HEAD_SIZES = (16, 32, 64)
# The interpreter's bfloat16 products are wrong.
_DTYPES = (torch.float32, torch.float16) if INTERPRETED else (torch.float32, torch.float16, torch.bfloat16)


def patch_embed(x_BHWC: Tensor, proj: nn.Conv2d, norm: nn.Module) -> Tensor:
    if not (_takes(x_BHWC) and _plain(proj, nn.Conv2d)):
        return eager.patch_embed(x_BHWC, proj, norm)
    dtype = torch.float32 if torch.is_autocast_enabled(x_BHWC.device.type) else x_BHWC.dtype
    return _normed(project_patches(pad_to_kernel(x_BHWC, proj.kernel_size), proj), norm, dtype)


def peg(x_BHWC: Tensor, conv: nn.Conv2d) -> Tensor:
    if not (_takes(x_BHWC) and _plain(conv, nn.Conv2d)):
        return eager.peg(x_BHWC, conv)
    assert conv.bias is not None
    return add_positions(x_BHWC, conv.weight, conv.bias)


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
    head_size = C // heads
    # The interpreter has no shared memory to run out of, and tells better in float32 whether a kernel is right.
    held_at_once = INTERPRETED or window_fits(window, head_size, _dtype_of_products(x_BHWC))
    if not (_multiplies(x_BHWC) and head_size in _HEAD_SIZES and held_at_once):
        return eager.window_attention(x_BHWC, norm, qkv, proj, heads, window, padding, dropout)
    below, beside, masked = window_overhang(H, W, window, padding)
    if C <= MAX_SUBLAYER_WIDTH and _plain(norm, nn.LayerNorm) and _linear(qkv, proj):
        parts = _norm_of(norm), _weights(qkv, x_BHWC), _weights(proj, x_BHWC)
        return F.dropout(whole_window_attention(x_BHWC, *parts, heads, window, masked), dropout)
    qkv_BHWX = qkv(_normed(x_BHWC, norm, _dtype_of_products(x_BHWC)))
    fill_X = qkv(x_BHWC.new_zeros(C)) if (below or beside) and not masked else None
    return F.dropout(proj(attend_in_windows(qkv_BHWX, fill_X, heads, window)), dropout)


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
    if not (_multiplies(x_BHWC) and x_BHWC.shape[3] // heads in _HEAD_SIZES):
        return eager.subsampled_attention(x_BHWC, norm, q, kv, proj, heads, sr, sr_norm, dropout)
    x = _normed(x_BHWC, norm, _dtype_of_products(x_BHWC))
    summary = x if sr is None or sr_norm is None else patch_embed(x, sr, sr_norm)
    kv_BMX = kv(summary).flatten(1, 2)
    if x.shape[3] <= MAX_SUBLAYER_WIDTH and _linear(q, proj):
        y = whole_summary_attention(x.flatten(1, 2), _weights(q, x_BHWC), kv_BMX, _weights(proj, x_BHWC), heads)
        return F.dropout(y.view(x.shape), dropout)
    y = attend_to_summary(q(x).flatten(1, 2), kv_BMX, heads)
    return F.dropout(proj(y.view(x.shape)), dropout)


def mlp(x_BHWC: Tensor, norm: nn.Module, fc1: nn.Module, fc2: nn.Module, dropout: float = 0.0) -> Tensor:
    C = x_BHWC.shape[3]
    if not _takes(x_BHWC):
        return eager.mlp(x_BHWC, norm, fc1, fc2, dropout)
    hidden = getattr(fc1, "out_features", 0)
    plain = _plain(norm, nn.LayerNorm) and _linear(fc1, fc2) and mlp_fits(C, hidden)
    if dropout or not (_multiplies(x_BHWC) and plain):
        return reference.mlp(_normed(x_BHWC, norm, _dtype_of_products(x_BHWC)), _DONE, fc1, fc2, dropout)
    y = normed_mlp(x_BHWC.reshape(-1, C), *_norm_of(norm), *_weights(fc1, x_BHWC), *_weights(fc2, x_BHWC))
    return y.view(x_BHWC.shape)


def _normed(x: Tensor, norm: nn.Module, dtype: torch.dtype) -> Tensor:
    """A norm's answer in `dtype`. A compiler gets the norm as it is: it makes one kernel of that and its neighbours."""
    if torch.compiler.is_compiling() or not (_takes(x) and _plain(norm, nn.LayerNorm) and fits_a_tile(x.shape[-1])):
        y: Tensor = norm(x)
        return y.to(dtype)
    return layer_norm(x, *_norm_of(norm), dtype)


def describe() -> str:
    where = "interpreted" if INTERPRETED else "on a GPU"
    return f"Triton {triton.__version__} kernels {where}, PyTorch {torch.__version__}"


def _takes(x: Tensor) -> bool:
    """Whether the kernels run where the map lies, in the type that its products are computed in."""
    return (x.is_cuda or INTERPRETED) and x.dtype in _DTYPES and _dtype_of_products(x) in _DTYPES


def _multiplies(x: Tensor) -> bool:
    """Whether a kernel's products gain from tensor cores, which float32 at its highest precision does not use."""
    plain = _dtype_of_products(x) == torch.float32 and float32_products() == "ieee"
    return _takes(x) and (INTERPRETED or not plain)


def _dtype_of_products(x: Tensor) -> torch.dtype:
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def _plain(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a module does what its numbers say, bias included, and nobody watches it being called."""
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


def _weights(linear: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """In the type that the map's products are computed in."""
    dtype = _dtype_of_products(x)
    return linear.weight.to(dtype), linear.bias.to(dtype)

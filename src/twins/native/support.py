"""Which networks the engine can take."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.utils.parametrize import type_before_parametrizations

from ..model import (
    PATCH_SIZES,
    Block,
    GlobalSubsampledAttention,
    LocallyGroupedAttention,
    PatchEmbed,
    PositionalEncodingGenerator,
    Stages,
    Twins,
    TwinsBackbone,
)
from . import library
from .packing import PANEL


def unsupported(model: Stages) -> str | None:
    """Why the engine, which was built, cannot compute the network, in words, or None where it can."""
    if type(model) not in (Twins, TwinsBackbone) or _is_intercepted(model):
        return "the network's class or forward is not this project's own, or has hooks"
    if isinstance(model, Twins):
        if model.global_pool != "avg":
            return "the engine pools by the mean alone (global_pool='avg')"
        with torch.device("meta"):
            classes = getattr(model.head, "out_features", 0)
            head = nn.Linear(model.num_features, classes) if classes else nn.Identity()
            norm = nn.LayerNorm(model.num_features)
        if not _is_like(model.head, head) or not _is_like(model.norm, norm):
            return "the network's head or last norm is not a plain Linear and LayerNorm"
    before = model.in_chans
    for s, dim in enumerate(model.embed_dims):
        if reason := _unsupported_stage(model, s, before):
            return reason
        before = dim
    return _unsupported_attention(model)


def _unsupported_stage(model: Stages, s: int, before: int) -> str | None:
    dim = model.embed_dims[s]
    if dim % PANEL:
        return f"stage {s} is {dim} channels wide, and the engine works on multiples of {PANEL}"
    with torch.device("meta"):
        embed, peg = PatchEmbed(before, dim, PATCH_SIZES[s]), PositionalEncodingGenerator(dim)
        norm = nn.LayerNorm(dim)
    if not _is_like(model.patch_embeds[s], embed) or not _is_like(model.pos_block[s], peg):
        return f"the patch embedding or positional encoding of stage {s} was replaced"
    if model.norm_list is not None and not _is_like(model.norm_list[s], norm):
        return "the network's stage norms are not plain LayerNorms"
    blocks: Any = model.blocks[s]
    for i, block in enumerate(blocks):
        if not _is_plain_block(block, dim):
            return f"block {i} of stage {s} has parts that were replaced"
        if block.mlp.fc1.out_features % PANEL:
            return f"stage {s} has MLPs of {block.mlp.fc1.out_features} channels, no multiple of {PANEL}"
    return None


def _is_plain_block(block: Any, dim: int) -> bool:
    """Whether a new one with the same settings would compute the same, but for its weights."""
    if type(block) is not Block:
        return False
    attention = block.attn
    hidden = getattr(getattr(block.mlp, "fc1", None), "out_features", dim)
    with torch.device("meta"):
        fresh: Any
        if isinstance(attention, LocallyGroupedAttention):
            fresh = LocallyGroupedAttention(dim, attention.heads, attention.window, attention.padding, 0.0)
        elif isinstance(attention, GlobalSubsampledAttention):
            ratio = getattr(attention.sr, "kernel_size", (1,))[0]
            fresh = GlobalSubsampledAttention(dim, attention.heads, ratio, 0.0)
        else:
            return False
        return _is_like(block, Block(dim, fresh, hidden // dim, 0.0, 0.0, norm_eps=1e-6))


def _unsupported_attention(model: Stages) -> str | None:
    windows = set()
    stages: Any = model.blocks
    for s, (dim, blocks) in enumerate(zip(model.embed_dims, stages, strict=True)):
        attentions = [block.attn for block in blocks]
        widths = {dim // attention.heads for attention in attentions}
        if len(widths) > 1 or max(widths) % PANEL:
            return (
                f"stage {s} has heads of {' and '.join(map(str, sorted(widths)))} channels, "
                f"and the engine's are alike and multiples of {PANEL}"
            )
        windows |= {(a.window, a.padding) for a in attentions if isinstance(a, LocallyGroupedAttention)}
    if len(windows) > 1:
        return "its windows are of several kinds, and the engine's are of one"
    most = library.most_tokens_of_window()
    if any(window**2 > most for window, _ in windows):
        return f"its windows have more tokens than the engine's largest, {most}"
    return None


def _is_like(module: nn.Module, fresh: nn.Module) -> bool:
    """Made of the same layers, which compute the same from weights of the same shapes, and nothing hooked in."""
    return _description(module) == _description(fresh) and not any(map(_is_intercepted, module.modules()))


def _description(module: nn.Module) -> dict[str, tuple[object, ...]]:
    """Of each layer inside: its kind and its weights' shapes, and how a convolution moves."""
    layers = {}
    for path, layer in module.named_modules():
        if "parametrizations" in path:  # what computes a weight, which is packed as it is used
            continue
        shapes = [getattr(getattr(layer, name, None), "shape", None) for name in ("weight", "bias")]
        moves = layer.extra_repr() if isinstance(layer, nn.Conv2d) else ""
        layers[path] = (type_before_parametrizations(layer), *shapes, moves)
    return layers


def _is_intercepted(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks) or "forward" in vars(module)

"""Which networks the engine can take."""

from __future__ import annotations

from torch import nn

from ..model import Block, GlobalSubsampledAttention, LocallyGroupedAttention, PatchEmbed, Stages, Twins
from .packing import PANEL

MOST_TOKENS_OF_WINDOW = 98  # MOST_ROWS of engine/workspace.h


def unsupported(model: Stages) -> str | None:
    """Why the engine cannot compute the network, in words, or None where it can."""
    if isinstance(model, Twins):
        if model.global_pool != "avg":
            return "the engine pools by the mean alone (global_pool='avg')"
        if not _is(model.head, nn.Linear, nn.Identity) or not _is(model.norm, nn.LayerNorm):
            return "the network's head or last norm is not a plain Linear and LayerNorm"
    if model.norm_list is not None and not all(_is(norm, nn.LayerNorm) for norm in model.norm_list):
        return "the network's stage norms are not plain LayerNorms"
    for s, (dim, blocks) in enumerate(zip(model.embed_dims, model.blocks, strict=True)):
        assert isinstance(blocks, nn.ModuleList)
        if dim % PANEL:
            return f"stage {s} is {dim} channels wide, and the engine works on multiples of {PANEL}"
        if not _is_plain_embed(model.patch_embeds[s]) or not _is_plain(model.pos_block[s]):
            return f"the patch embedding or positional encoding of stage {s} was replaced"
        for i, block in enumerate(blocks):
            if reason := _unsupported_block(block, f"block {i} of stage {s}"):
                return reason
    return None


def _unsupported_block(block: nn.Module, where: str) -> str | None:
    if not isinstance(block, Block) or not _is_plain(block):
        return f"{where} has parts that were replaced"
    attention = block.attn
    width = block.norm1.normalized_shape[0] // attention.heads
    if width % PANEL:
        return f"{where} has heads of {width} channels, and the engine works on multiples of {PANEL}"
    if block.mlp.fc1.out_features % PANEL:
        return f"{where} has an MLP of {block.mlp.fc1.out_features} channels, no multiple of {PANEL}"
    if isinstance(attention, LocallyGroupedAttention) and attention.window**2 > MOST_TOKENS_OF_WINDOW:
        return (
            f"{where} has windows of {attention.window}, and the engine's largest have {MOST_TOKENS_OF_WINDOW} tokens"
        )
    return None


def _is_plain_embed(embed: nn.Module) -> bool:
    return isinstance(embed, PatchEmbed) and _is_plain(embed)


def _is_plain(module: nn.Module) -> bool:
    """Made of this project's modules and PyTorch's own, nothing put in their place and no hooks."""
    ours = (Block, GlobalSubsampledAttention, LocallyGroupedAttention)
    for part in module.modules():
        if part._forward_hooks or part._forward_pre_hooks:
            return False
        if isinstance(part, ours) or type(part).__module__.startswith((nn.__name__, Stages.__module__)):
            continue
        return False
    return True


def _is(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    return type(module) in kinds

"""Names of parameters: every dialect's, brought to the public ones.

The public names are those of the original release, which timm and this package share. OpenMMLab's mmsegmentation and
mmpretrain rename most of the network; models for dense prediction hold it as `backbone`, with their heads beside it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

# Modules that parallel, compiled, Lightning and dense models wrap around the network, or around a part of it.
WRAPPERS = re.compile(r"(?:^|(?<=\.))(?:module|_orig_mod|model|backbone)\.")


_OPENMMLAB = (
    (r"^(patch_embeds\.\d+)\.projection\.", r"\1.proj."),
    (r"^(?:layers|stages)\.(\d+\.\d+)\.", r"blocks.\1."),
    (r"^(blocks\.\d+\.\d+)\.attn\.attn\.out_proj\.", r"\1.attn.proj."),
    (r"^(blocks\.\d+\.\d+)\.ffn\.layers\.0\.0\.", r"\1.mlp.fc1."),
    (r"^(blocks\.\d+\.\d+)\.ffn\.layers\.1\.", r"\1.mlp.fc2."),
    (r"^position_encodings\.(\d+)\.proj\.(?:0\.)?", r"pos_block.\1.proj.0."),
    (r"^norm_after_stage(\d+)\.", r"norm_list.\1."),
    (r"^head\.fc\.", "head."),
)


_JOINED_QKV = re.compile(r"(blocks\.\d+\.\d+\.attn)\.attn\.in_proj_(weight|bias)")


# The part of a network that a name belongs to: one stage of something, or a top-level module.
_PART = re.compile(r"(?:patch_embeds|blocks|pos_block|norm_list)\.\d+|[^.]+")


def public_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a state dict of any dialect under the public names; unknown names only lose their wrappers."""
    renames = list(_OPENMMLAB)
    # mmpretrain's classifiers write their final norm as a norm after the last stage, as a rule without the others.
    if any("head.fc." in key for key in state) or not any("norm_after_stage0." in key for key in state):
        renames.insert(0, (r"^norm_after_stage3\.", "norm."))
    public = {}
    for key, tensor in state.items():
        key = WRAPPERS.sub("", key)
        for pattern, replacement in renames:
            key = re.sub(pattern, replacement, key)
        if tensor.ndim and (joined := _JOINED_QKV.fullmatch(key)):
            q, k, v = tensor.tensor_split(3)
            public[f"{joined[1]}.q.{joined[2]}"] = q
            public[f"{joined[1]}.kv.{joined[2]}"] = torch.cat([k, v])
        else:
            public[key] = tensor
    return public


def dialect_of(checkpoint: Mapping[str, Any], names: Iterable[str]) -> str:
    if "format" in checkpoint and "meta" in checkpoint:
        return "twins"
    if any("position_encodings." in name for name in names):
        return "OpenMMLab"
    return "dense" if any("backbone." in name for name in names) else "public names"


def part_of(key: str) -> str:
    return found[0] if (found := _PART.match(key)) else key

"""Dialects: how others name parameters, and what their networks compute otherwise.

The public names are those of the original release, which timm and this package share. OpenMMLab's mmsegmentation and
mmpretrain rename most of the network; models for dense prediction hold it as `backbone`, with their heads beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import TwinsError


class Dialect(NamedTuple):
    """Whose names a checkpoint has, and the epsilon of its network's LayerNorms that is not the same everywhere."""

    name: str
    norm_eps: float = 1e-6  # of the blocks, the stages and the final norm


TWINS = Dialect("twins")
OPENMMLAB = Dialect("OpenMMLab", norm_eps=1e-5)
DENSE = Dialect("dense")
PUBLIC = Dialect("public names")

# Modules that parallel, compiled, Lightning and dense models wrap around the network, or around a part of it.
_WRAPPERS = re.compile(r"(?:^|(?<=\.))(?:module|_orig_mod|model|backbone)\.")

_OPENMMLAB_NAMES = (
    (re.compile(r"^(patch_embeds\.\d+)\.projection\."), r"\1.proj."),
    (re.compile(r"^(?:layers|stages)\.(\d+\.\d+)\."), r"blocks.\1."),
    (re.compile(r"^(blocks\.\d+\.\d+)\.attn\.attn\.out_proj\."), r"\1.attn.proj."),
    (re.compile(r"^(blocks\.\d+\.\d+)\.ffn\.layers\.0\.0\."), r"\1.mlp.fc1."),
    (re.compile(r"^(blocks\.\d+\.\d+)\.ffn\.layers\.1\."), r"\1.mlp.fc2."),
    (re.compile(r"^position_encodings\.(\d+)\.proj\.(?:0\.)?"), r"pos_block.\1.proj.0."),
    (re.compile(r"^norm_after_stage(\d+)\."), r"norm_list.\1."),
    (re.compile(r"^head\.fc\."), "head."),
)
_FINAL_NORM = (re.compile(r"^norm_after_stage3\."), "norm.")
_JOINED_QKV = re.compile(r"(blocks\.\d+\.\d+\.attn)\.attn\.in_proj_(weight|bias)")

HEADS = {"norm", "head", "decode_head", "auxiliary_head", "neck", "bbox_head", "rpn_head", "roi_head"}
_KNOWN_PARTS = {"patch_embeds", "blocks", "pos_block", "norm_list", "position_encodings", "layers", "stages", *HEADS}

_LARGEST_PLAIN = 2**24  # elements of a tensor that may be expanded without a second look, 64 MB of float32

# The part of a network that a name belongs to: one stage of something, or a top-level module.
_PART = re.compile(r"(?:patch_embeds|blocks|pos_block|norm_list)\.\d+|[^.]+")


def dialect_of(checkpoint: Mapping[str, Any], names: Iterable[str]) -> Dialect:
    """The dialect of a checkpoint whose weights have these names. Ours are known by their `format` and `meta`."""
    if "format" in checkpoint and isinstance(checkpoint.get("meta"), Mapping):
        return TWINS
    if any("position_encodings." in name for name in names):
        return OPENMMLAB
    return DENSE if any("backbone." in name for name in names) else PUBLIC


def public_names(state: Mapping[str, Tensor], source: str = "the given dictionary") -> dict[str, Tensor]:
    """The tensors of a state dict of any dialect under the public names; unknown names only lose their wrappers.

    Raises TwinsError, naming `source`, where two names of the file mean one parameter and have different values.
    """
    renames = list(_OPENMMLAB_NAMES)
    # mmpretrain's classifiers write their final norm as a norm after the last stage, as a rule without the others.
    if any("head.fc." in key for key in state) or not any("norm_after_stage0." in key for key in state):
        renames.insert(0, _FINAL_NORM)
    public: dict[str, Tensor] = {}
    name_of: dict[str, str] = {}
    for name, tensor in state.items():
        key = without_wrappers(name)
        for pattern, replacement in renames:
            key = pattern.sub(replacement, key)
        if tensor.ndim and (joined := _JOINED_QKV.fullmatch(key)) and not is_bloated(tensor):
            q, k, v = tensor.tensor_split(3)
            renamed = {f"{joined[1]}.q.{joined[2]}": q, f"{joined[1]}.kv.{joined[2]}": torch.cat([k, v])}
        else:
            renamed = {key: tensor}
        for key, part in renamed.items():
            if key in public and not (part.shape == public[key].shape and torch.equal(part, public[key])):
                raise TwinsError(
                    f"{source}: {name_of[key]} and {name} have different weights for the same {key}: leave one out"
                )
            public[key], name_of[key] = part, name
    return public


def is_bloated(tensor: Tensor) -> bool:
    """Whether a tensor claims far more elements than the file holds of it, as by a stride of 0: a copy needs them."""
    if tensor.layout is not torch.strided or tensor.is_meta or tensor.numel() <= _LARGEST_PLAIN:
        return False
    return tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes()


def without_wrappers(key: str) -> str:
    """A parameter's name in the network itself: `module.backbone.head.bias` -> `head.bias`."""
    return _WRAPPERS.sub("", key)


def known_part(key: str) -> bool:
    """Whether a name of any dialect, wrappers taken off or not, is one of a part that our networks have."""
    return any(word in _KNOWN_PARTS for word in key.split(".")[:-1])


def part_of(key: str) -> str:
    """The part of a network that a public name belongs to: `blocks.2.0.norm1.bias` -> `blocks.2`."""
    return found[0] if (found := _PART.match(key)) else key

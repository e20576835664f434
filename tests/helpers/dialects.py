"""State dicts as other frameworks would have written them."""

from __future__ import annotations

import torch
from torch import Tensor


def prefixed(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in state.items()}


def as_openmmlab(state: dict[str, Tensor], framework: str) -> dict[str, Tensor]:
    """What mmpretrain or mmsegmentation would have written, spelled out name by name from their module trees."""
    stages = {"mmpretrain": "stages", "mmseg": "layers"}[framework]
    new = {}
    for key, value in state.items():
        words = key.split(".")
        if words[0] == "head":
            new[f"head.fc.{words[1]}"] = value
        elif words[0] == "norm":
            new[f"backbone.norm_after_stage3.{words[1]}"] = value
        elif words[0] == "patch_embeds":
            new["backbone." + key.replace("proj", "projection")] = value
        elif words[0] == "pos_block":
            new[f"backbone.position_encodings.{words[1]}.proj.{words[4]}"] = value
        elif words[0] == "blocks":
            block = f"backbone.{stages}.{words[1]}.{words[2]}"
            inside = ".".join(words[3:])
            attends_globally = key.rpartition(".attn.")[0] + ".attn.q.weight" in state
            if inside.startswith("mlp"):
                new[f"{block}.ffn.layers." + {"fc1": "0.0", "fc2": "1"}[words[4]] + f".{words[5]}"] = value
            elif framework == "mmseg" and inside.startswith("attn.q."):
                fused = torch.cat([value, state[key.replace("attn.q.", "attn.kv.")]])
                new[f"{block}.attn.attn.in_proj_{words[5]}"] = fused
            elif framework == "mmseg" and inside.startswith("attn.kv."):
                continue
            elif framework == "mmseg" and inside.startswith("attn.proj.") and attends_globally:
                new[f"{block}.attn.attn.out_proj.{words[5]}"] = value
            else:
                new[f"{block}.{inside}"] = value
        else:
            new[f"backbone.{key}"] = value
    return new

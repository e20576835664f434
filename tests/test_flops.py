"""Multiply-adds by both conventions, against the public README and what fvcore counted."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

import twins
from twins.flops import Flops, count_flops
from twins.zoo import PUBLISHED

# In billions at 224 x 224. Each number of the README is the counted one, rounded.
README = {
    "twins_pcpvt_small": (3.7, 3.667),
    "twins_pcpvt_base": (6.4, 6.437),
    "twins_pcpvt_large": (9.5, 9.497),
    "twins_svt_small": (2.8, 2.809),
    "twins_svt_base": (8.3, 8.334),
    "twins_svt_large": (14.8, 14.807),
}
FVCORE = {
    "twins_pcpvt_small": 3.827,
    "twins_pcpvt_base": 6.679,
    "twins_pcpvt_large": 9.844,
    "twins_svt_small": 2.942,
    "twins_svt_base": 8.590,
    "twins_svt_large": 15.148,
}


def on_meta(name: str, **keywords: Any) -> nn.Module:
    with torch.device("meta"):
        return twins.create_model(name, **keywords)


@pytest.mark.parametrize("name", README)
def test_published_multiply_adds(name: str):
    flops = count_flops(on_meta(name))
    published, counted = README[name]
    assert round(flops.projections / 1e9, 3) == counted
    assert round(flops.projections / 1e9, 1) == published == PUBLISHED[name].gmacs
    assert round(flops.total / 1e9, 3) == FVCORE[name]


def test_count_by_hand():
    """One block a stage on a 32 x 32 image: the maps have 8, 4, 2 and 1 cells a side, and sr leaves one key."""
    model = on_meta("pcpvt_small", depths=(1, 1, 1, 1), num_classes=10, in_chans=4)
    projections = attention = norms = 0
    previous = 4
    for dim, side, patch, ratio in ((64, 8, 4, 8), (128, 4, 2, 8), (320, 2, 2, 4), (512, 1, 2, 4)):
        tokens = side * side
        patch_embed, peg = tokens * previous * patch**2 * dim, tokens * 9 * dim
        q_and_proj, mlp = 2 * tokens * dim**2, 2 * tokens * ratio * dim**2
        sr, kv = tokens * dim**2 * (side > 1), 2 * dim**2
        projections += patch_embed + peg + q_and_proj + mlp + sr + kv
        attention += 2 * tokens * dim
        norms += 5 * dim * (3 * tokens + (side > 1))
        previous = dim
    head, final_norm = 512 * 10, 5 * 512
    assert count_flops(model, 32) == Flops(projections + head, attention, norms + final_norm)


@pytest.mark.parametrize(
    ("padding", "at_224", "at_256", "at_224_by_256"),
    [("mask", 2.942, 3.857, 3.368), ("zero", 2.942, 4.319, 3.531), ("mask-both", 2.942, 3.857, 3.531)],
)
def test_padding_costs_what_it_computes(padding: str, at_224: float, at_256: float, at_224_by_256: float):
    model = on_meta("svt_small", window_padding=padding)
    totals = [round(count_flops(model, size).total / 1e9, 3) for size in (224, 256, (224, 256))]
    assert totals == [at_224, at_256, at_224_by_256]


def test_counts_backbones_and_other_precisions():
    backbone = on_meta("svt_small", features_only=True).to(torch.bfloat16)
    whole, head, final_norm = count_flops(on_meta("svt_small")), 512 * 1000, 5 * 49 * 512
    assert count_flops(backbone) == whole._replace(
        projections=whole.projections - head, layer_norm=whole.layer_norm - final_norm
    )


def test_the_model_is_left_as_it_was():
    model = twins.create_model("svt_small", depths=(1, 1, 1, 1), drop_rate=0.1, drop_path_rate=0.1).train()
    before, rng = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    count_flops(model, (33, 65))
    assert model.training
    assert all(p.device.type == "cpu" and p.grad is None for p in model.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), rng)

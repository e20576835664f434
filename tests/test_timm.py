"""Beside timm's own Twins: the same names, numbers and gradients; and our networks made by timm.create_model."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.data import create_transform, resolve_data_config
from timm.models._features import FeatureGetterNet
from timm.models._manipulate import group_parameters
from torch import Tensor, nn

import twins
import twins.timm

SIX = twins.list_models()
ORIGINAL = {  # what the original repository calls them, and we
    f"{kind}_{size}{version}": f"twins_{ours}_{size}"
    for kind, ours, version in (("pcpvt", "pcpvt", ""), ("pcpvt", "pcpvt", "_v0"), ("alt_gvt", "svt", ""))
    for size in ("small", "base", "large")
}
DEPTHS = {"twins_svt_small": (2, 2, 2, 2), "twins_pcpvt_small": (1, 2, 1, 1)}  # every kind of block, few of them


def on_meta(name: str, **keywords: Any) -> nn.Module:
    with torch.device("meta"):
        return twins.create_model(name, **keywords)


def pair(name: str, **keywords: Any) -> tuple[nn.Module, nn.Module]:
    """Our network and timm's on the same weights, among them biases and norms that do something."""
    ours = twins.create_model(name, window_padding="zero", **keywords).eval()
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    theirs = timm.create_model(name, device="meta", **keywords).eval()
    theirs.load_state_dict(ours.state_dict(), assign=True)  # shares the memory, not the gradients
    return ours, theirs


def distance(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


# ---- parity


@pytest.mark.parametrize("name", SIX)
def test_state_dict_has_timms_names_and_shapes(name: str):
    theirs = timm.create_model(name, device="meta")
    assert {key: value.shape for key, value in on_meta(name).state_dict().items()} == {
        key: value.shape for key, value in theirs.state_dict().items()
    }


@pytest.mark.parametrize(
    ("name", "depths"),
    [
        *((name, None) for name in DEPTHS),
        *((name, (2, 2, 2, 2)) for name in SIX if name not in DEPTHS),  # their widths
        *(pytest.param(name, None, marks=pytest.mark.slow) for name in SIX if name not in DEPTHS),
    ],
)
def test_logits_are_timms(name: str, depths: tuple[int, ...] | None):
    ours, theirs = pair(name, **{} if depths is None else {"depths": depths})
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        expected = theirs(images)
        assert distance(ours(images), expected) < 1e-5
        torch.testing.assert_close(ours(images), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in DEPTHS else pytest.mark.slow) for n in SIX])
def test_gradients_are_timms(name: str):
    gradients = []
    images, weights = torch.randn(1, 3, 224, 224), torch.randn(1, 1000)
    for model in pair(name):
        (model(images) * weights).sum().backward()
        gradients.append({key: p.grad for key, p in model.named_parameters()})
    ours, theirs = gradients
    assert ours.keys() == theirs.keys()
    for key, expected in theirs.items():
        actual = ours[key]
        if key.endswith(("qkv.bias", "kv.bias")):
            # A bias on every key adds the same to all scores of a query, which softmax takes away: only rounding
            # is left of that gradient, and it has no relative size.
            size = expected.numel() // (3 if "qkv" in key else 2)
            keys = slice(-2 * size, -size)  # before the values, which come last
            assert (actual[keys] - expected[keys]).abs().max() < 1e-5 * expected.abs().max(), key
            actual, expected = (torch.cat([g[: keys.start], g[keys.stop :]]) for g in (actual, expected))
        assert distance(actual, expected) < 1e-5, key


@pytest.mark.parametrize("name", DEPTHS)
@given(height=st.integers(32, 160), width=st.integers(32, 160))
def test_zero_padding_is_timms_at_awkward_sizes(name: str, height: int, width: int):
    ours, theirs = pair(name, depths=DEPTHS[name], num_classes=10)
    images = torch.randn(1, 3, height, width)
    with torch.no_grad():
        assert distance(ours(images), theirs(images)) < 1e-5


# ---- the registry


def test_import_registers_the_original_names_and_leaves_timms():
    script = """
import timm
before, theirs = set(timm.list_models()), timm.model_entrypoint("twins_svt_small")
import twins.timm
print(*sorted(set(timm.list_models()) - before), timm.model_entrypoint("twins_svt_small") is theirs)
"""
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.split() == [*sorted(ORIGINAL), "True"], done.stderr


@pytest.mark.parametrize(("original", "name"), ORIGINAL.items())
def test_timm_makes_our_network(original: str, name: str):
    model = timm.create_model(original, device="meta", dtype=torch.bfloat16)
    assert isinstance(model, twins.Twins)
    expected = on_meta(name).state_dict()
    assert {key: p.shape for key, p in model.state_dict().items()} == {key: p.shape for key, p in expected.items()}
    assert {(p.device.type, p.dtype) for p in model.parameters()} == {("meta", torch.bfloat16)}
    assert getattr(twins.timm, original).__name__ == original


def test_timms_keywords_reach_the_network():
    model = timm.create_model(
        "alt_gvt_small",
        img_size=64,
        in_chans=1,
        num_classes=7,
        global_pool="",
        drop_path_rate=0.2,
        depths=(1, 1, 1, 1),
        window_padding="zero",
    )
    assert model(torch.randn(2, 1, 50, 70)).shape == (2, 2, 7)
    assert model.blocks[3][0].drop_path.rate == pytest.approx(0.2)
    assert model.blocks[0][0].attn.padding == "zero"
    with pytest.raises(TypeError, match="no_such_thing"):
        timm.create_model("alt_gvt_small", no_such_thing=1)
    with pytest.raises(RuntimeError, match="No pretrained weights exist for alt_gvt_small"):
        timm.create_model("alt_gvt_small", pretrained=True)


def test_preprocessing_is_the_published_one():
    model = timm.create_model("pcpvt_large_v0", device="meta")
    config = resolve_data_config(model=model)
    assert config == {
        "input_size": (3, 224, 224),
        "interpolation": "bicubic",
        "crop_pct": 0.875,
        "crop_mode": "center",
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
    }
    assert model.pretrained_cfg["fixed_input_size"] is False
    assert model.get_submodule(model.pretrained_cfg["first_conv"]) is model.patch_embeds[0].proj
    assert model.get_submodule(model.pretrained_cfg["classifier"]) is model.head
    resize, crop = create_transform(**config).transforms[:2]
    assert (resize.size, tuple(crop.size)) == (256, (224, 224))


@pytest.mark.parametrize("out_indices", [(0, 1, 2, 3), (1, 3), (-1,), 2], ids=str)
def test_features_only_goes_through_timms_getter(out_indices: int | tuple[int, ...]):
    keywords = {"depths": (1, 1, 1, 1), "in_chans": 4}
    getter = timm.create_model("alt_gvt_base", features_only=True, out_indices=out_indices, **keywords)
    assert isinstance(getter, FeatureGetterNet)
    stages = (2, 3) if out_indices == 2 else tuple(s % 4 for s in out_indices)
    maps = getter(torch.randn(1, 4, 64, 96))
    assert [m.shape[1] for m in maps] == getter.feature_info.channels() == [(96, 192, 384, 768)[s] for s in stages]
    assert [64 // m.shape[2] for m in maps] == getter.feature_info.reduction() == [2 ** (s + 2) for s in stages]
    sum(m.sum() for m in maps).backward()
    assert [key for key, p in getter.named_parameters() if p.grad is None] == []  # nothing left that is not used


def test_checkpoints_load_through_timm(tmp_path: Path):
    keywords = {"depths": (1, 1, 1, 1)}
    saved = timm.create_model("alt_gvt_small", num_classes=5, **keywords).eval()
    torch.save({"model": saved.state_dict()}, tmp_path / "checkpoint.pth")
    loaded = timm.create_model(
        "alt_gvt_small", num_classes=5, checkpoint_path=str(tmp_path / "checkpoint.pth"), **keywords
    ).eval()
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(loaded(images), saved(images))
    # timm adapts a stem to grey images and leaves out a head of another width, knowing both by our default_cfg
    grey = timm.create_model(
        "alt_gvt_small",
        pretrained=True,
        pretrained_cfg_overlay={"file": str(tmp_path / "checkpoint.pth"), "num_classes": 5},
        in_chans=1,
        num_classes=3,
        **keywords,
    )
    assert torch.equal(grey.blocks[0][0].attn.qkv.weight, saved.blocks[0][0].attn.qkv.weight)
    stem = saved.patch_embeds[0].proj.weight
    torch.testing.assert_close(grey.patch_embeds[0].proj.weight, stem.sum(dim=1, keepdim=True))
    assert grey.head.weight.shape == (3, 512)


# ---- layer-wise learning rates


def test_parameters_are_grouped_by_depth():
    model = twins.Twins(depths=(2, 1, 3, 2), stage_norms=True)
    layer = group_parameters(model, model.group_matcher(), reverse=True)
    assert layer.keys() == dict(model.named_parameters()).keys()
    first_blocks = {0: 1, 1: 3, 2: 4, 3: 7}

    def expected(key: str) -> int:
        if key.startswith("patch_embeds.0"):
            return 0
        if block := re.match(r"blocks\.(\d)\.(\d)", key):
            return first_blocks[int(block[1])] + int(block[2])
        if beside := re.match(r"(?:patch_embeds|pos_block)\.(\d)", key):
            return first_blocks[int(beside[1])]
        if norm := re.match(r"norm_list\.(\d)", key):
            return [2, 3, 6, 8][int(norm[1])]
        return 8 if key.startswith("norm.") else 9

    assert layer == {key: expected(key) for key in layer}


def test_parameters_are_grouped_by_stage():
    model = twins.Twins(window_size=None, stage_norms=True)
    layer = group_parameters(model, model.group_matcher(coarse=True), reverse=True)

    def expected(key: str) -> int:
        if key.startswith("patch_embeds.0"):
            return 0
        stage = re.match(r"(?:blocks|patch_embeds|pos_block|norm_list)\.(\d)", key)
        return int(stage[1]) + 1 if stage else {"norm": 4, "head": 5}[key.split(".")[0]]

    assert layer == {key: expected(key) for key in layer}

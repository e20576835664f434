"""The neck, the heads and the segmenters, against a plain formulation over their state dict and published metrics."""

from __future__ import annotations

import copy
import itertools
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import twins
from helpers.dialects import as_openmmlab, prefixed
from helpers.tiny import TINY
from twins.checkpoints.load import load_weights
from twins.heads.fpn import FeaturePyramid
from twins.heads.segmentation import BatchNorm, FCNHead, Segmenter, SemanticFPNHead, UPerHead, semantic_fpn, upernet

# As published, with the classifier's head and final norm that those files carry along unused.
PARAMETERS = {
    (upernet, "twins_pcpvt_small"): 54_594_068,
    (upernet, "twins_pcpvt_base"): 74_316_308,
    (upernet, "twins_pcpvt_large"): 91_477_524,
    (upernet, "twins_svt_small"): 54_370_324,
    (upernet, "twins_svt_base"): 88_494_996,
    (upernet, "twins_svt_large"): 133_809_940,
    (semantic_fpn, "twins_pcpvt_small"): 28_372_862,
    (semantic_fpn, "twins_pcpvt_base"): 48_095_102,
    (semantic_fpn, "twins_pcpvt_large"): 65_256_318,
    (semantic_fpn, "twins_svt_small"): 28_312_958,
    (semantic_fpn, "twins_svt_base"): 60_446_974,
    (semantic_fpn, "twins_svt_large"): 103_771_262,
}
TWELVE = pytest.mark.parametrize(("make", "name"), PARAMETERS, ids=lambda value: getattr(value, "__name__", value))
BOTH = pytest.mark.parametrize("make", [upernet, semantic_fpn])
DIMS = (5, 6, 7, 9)  # of the maps that heads are tested on
SIZES = [
    ((24, 32), (12, 16), (6, 8), (3, 4)),
    ((24, 33), (12, 16), (6, 8), (3, 4)),
    ((19, 7), (9, 3), (4, 1), (2, 1)),
    ((1, 1), (1, 1), (1, 1), (1, 1)),
]


def on_meta(make: Callable[..., Segmenter], name: str, **settings: Any) -> Segmenter:
    with torch.device("meta"):
        return make(name, **settings)


def tiny(make: Callable[..., Segmenter], name: str = "twins_svt_small", seed: int = 0, **settings: Any) -> Segmenter:
    torch.manual_seed(seed)
    return shaken(make(name, **{"num_classes": 5, "channels": 8, "head_drop": 0.0} | TINY | settings))


def shaken(model: Any) -> Any:
    """With parameters and running statistics that differ from the 0 and 1 they start with."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer += 0.2 * torch.randn_like(buffer)
            elif name.endswith("running_var"):
                buffer *= 0.5 + torch.rand_like(buffer)
    return model.eval()


def maps_of(sizes: tuple[tuple[int, int], ...], batch: int = 2, dims: tuple[int, ...] = DIMS) -> list[Tensor]:
    return [
        torch.randn(batch, dim, *size, dtype=torch.float64, requires_grad=True)
        for dim, size in zip(dims, sizes, strict=True)
    ]


# ---- the plain formulation: functions over the tensors of a state dict


def bilinear(x: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


def conv_norm_relu(p: dict[str, Tensor], at: str, x: Tensor, training: bool) -> Tensor:
    """The norm folded into the convolution, or by the batch's own statistics where it has more than one value."""
    weight, scale, shift = p[f"{at}.conv.weight"], p[f"{at}.bn.weight"], p[f"{at}.bn.bias"]
    y = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
    mean, var = p[f"{at}.bn.running_mean"], p[f"{at}.bn.running_var"]
    if training and y[:, 0].numel() > 1:
        mean, var = y.mean((0, 2, 3)), y.var((0, 2, 3), correction=0)
        return torch.relu(
            (y - mean[:, None, None]) * (scale / (var + 1e-5).sqrt())[:, None, None] + shift[:, None, None]
        )
    scale = scale / (var + 1e-5).sqrt()
    return torch.relu(
        F.conv2d(x, weight * scale[:, None, None, None], shift - mean * scale, padding=weight.shape[-1] // 2)
    )


def plain_uper(p: dict[str, Tensor], maps: list[Tensor], training: bool) -> Tensor:
    size = maps[3].shape[-2:]
    together = [maps[3]]
    for i, scale in enumerate((1, 2, 3, 6)):
        pooled = F.adaptive_avg_pool2d(maps[3], scale)
        together.append(bilinear(conv_norm_relu(p, f"psp_modules.{i}.1", pooled, training), size))
    fourth = conv_norm_relu(p, "bottleneck", torch.cat(together, 1), training)
    first, second, third = (conv_norm_relu(p, f"lateral_convs.{i}", maps[i], training) for i in range(3))
    third = third + bilinear(fourth, third.shape[-2:])
    second = second + bilinear(third, second.shape[-2:])
    first = first + bilinear(second, first.shape[-2:])
    levels = [conv_norm_relu(p, f"fpn_convs.{i}", x, training) for i, x in enumerate((first, second, third))]
    joined = torch.cat([bilinear(x, first.shape[-2:]) for x in (*levels, fourth)], 1)
    return plain_logits(p, conv_norm_relu(p, "fpn_bottleneck", joined, training))


def plain_fcn(p: dict[str, Tensor], maps: list[Tensor], training: bool) -> Tensor:
    return plain_logits(p, conv_norm_relu(p, "convs.0", maps[2], training))


def plain_neck(p: dict[str, Tensor], maps: list[Tensor]) -> list[Tensor]:
    inner = [
        F.conv2d(x, p[f"lateral_convs.{i}.conv.weight"], p[f"lateral_convs.{i}.conv.bias"]) for i, x in enumerate(maps)
    ]
    for i in (2, 1, 0):
        height, width = inner[i].shape[-2:]
        h, w = inner[i + 1].shape[-2:]
        rows = [math.floor(y * h / height) for y in range(height)]
        columns = [math.floor(x * w / width) for x in range(width)]
        inner[i] = inner[i] + inner[i + 1][:, :, rows][:, :, :, columns]
    return [
        F.conv2d(x, p[f"fpn_convs.{i}.conv.weight"], p[f"fpn_convs.{i}.conv.bias"], padding=1)
        for i, x in enumerate(inner)
    ]


def plain_semantic_fpn(p: dict[str, Tensor], maps: list[Tensor], training: bool) -> Tensor:
    total = conv_norm_relu(p, "scale_heads.0.0", maps[0], training)
    for level in (1, 2, 3):
        x = maps[level]
        for j in range(level):
            x = conv_norm_relu(p, f"scale_heads.{level}.{2 * j}", x, training)
            x = bilinear(x, torch.Size(2 * side for side in x.shape[-2:]))
        total = total + bilinear(x, maps[0].shape[-2:])
    return plain_logits(p, total)


def plain_logits(p: dict[str, Tensor], x: Tensor) -> Tensor:
    return F.conv2d(x, p["conv_seg.weight"], p["conv_seg.bias"])


def part(p: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}."): value for key, value in p.items() if key.startswith(f"{name}.")}


def tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters as they are, for their gradients; buffers as they stood before training moved them."""
    return dict(module.named_parameters()) | {name: b.clone() for name, b in module.named_buffers()}


def agree(module: nn.Module, actual: Any, expected: Any, inputs: list[Tensor], tolerance: float = 1e-9) -> None:
    """The same outputs, and the same gradients for all parameters and inputs, of a loss that weighs every output."""
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)
    gradients = []
    leaves = [*module.parameters(), *inputs]
    for outputs in (actual, expected):
        torch.manual_seed(3)
        loss = sum((x * torch.randn_like(x)).sum() for x in outputs)
        gradients.append(torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True))
    torch.testing.assert_close(*gradients, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("make", "plain"),
    [
        (lambda: UPerHead(DIMS, 4, channels=6, drop_rate=0.0), plain_uper),
        (lambda: FCNHead(DIMS, 4, drop_rate=0.0), plain_fcn),
        (lambda: SemanticFPNHead(5, 4, channels=6, drop_rate=0.0), plain_semantic_fpn),
    ],
    ids=["uper", "fcn", "semantic_fpn"],
)
def test_heads_compute_the_plain_formulation(make, plain, training, batch, sizes):
    head = shaken(make()).double().train(training)
    maps = maps_of(sizes, batch, (5, 5, 5, 5) if isinstance(head, SemanticFPNHead) else DIMS)
    before = tensors(head)
    actual = head(maps)
    assert actual.shape == (batch, 4, *(sizes[2] if isinstance(head, FCNHead) else sizes[0]))
    agree(head, [actual], [plain(before, maps, training)], maps)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_neck_computes_the_plain_formulation(sizes):
    neck, maps = shaken(FeaturePyramid(DIMS, channels=6)).double(), maps_of(sizes)
    levels = neck(maps)
    assert [level.shape for level in levels] == [(2, 6, *size) for size in sizes]
    agree(neck, levels, plain_neck(tensors(neck), maps), maps)
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        neck(maps[:3])


@pytest.mark.parametrize("size", [(97, 131), (64, 96), (33, 20)], ids=str)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ["twins_svt_small", "twins_pcpvt_small"])
@BOTH
def test_segmenters_compute_the_plain_formulation(make, name, training, size):
    model = tiny(make, name).double().train(training)
    images = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    before = tensors(model)
    maps = model.backbone(images)
    heads = {"decode_head": plain_uper, "auxiliary_head": plain_fcn}
    if make is semantic_fpn:
        maps = plain_neck(part(before, "neck"), maps)
        heads = {"decode_head": plain_semantic_fpn}
    expected = {
        head: bilinear(plain(part(before, head), maps, training), images.shape[-2:]) for head, plain in heads.items()
    }
    actual = model(images, all_heads=True)
    assert list(actual) == list(expected)
    agree(model, list(actual.values()), list(expected.values()), [images], 1e-8)


def test_backbone_is_the_one_that_create_model_makes():
    for name in ("twins_svt_small", "twins_pcpvt_small"):
        model, images = tiny(upernet, name, window_padding="zero"), torch.randn(1, 3, 50, 70)
        settings = {"stage_norms": "svt" in name, "window_padding": "zero"}
        backbone = twins.create_model(name, features_only=True, **TINY, **settings).eval()
        backbone.load_state_dict(model.backbone.state_dict())
        assert all(torch.equal(a, b) for a, b in zip(model.backbone(images), backbone(images), strict=True))


# ---- what is in a segmenter


@TWELVE
def test_parameters_number_exactly_as_published(make, name):
    model = on_meta(make, name)
    dim = model.backbone.embed_dims[-1]
    classifier_only = (dim + 1) * 1000 + 2 * dim
    assert sum(p.numel() for p in model.parameters()) + classifier_only == PARAMETERS[make, name]


BATCH_NORM = ("bn.weight", "bn.bias", "bn.running_mean", "bn.running_var", "bn.num_batches_tracked")


def with_norm(*prefixes: str) -> set[str]:
    return {f"{prefix}.{leaf}" for prefix in prefixes for leaf in ("conv.weight", *BATCH_NORM)}


def with_bias(*prefixes: str) -> set[str]:
    return {f"{prefix}.{leaf}" for prefix in prefixes for leaf in ("weight", "bias")}


@TWELVE
def test_names_are_the_published_ones(make, name):
    stage_norms = "svt" in name
    backbone = on_meta(twins.create_model, name, features_only=True, stage_norms=stage_norms)
    expected = {f"backbone.{key}" for key in backbone.state_dict()}
    assert ("backbone.norm_list.0.weight" in expected) == stage_norms
    expected |= with_bias("decode_head.conv_seg")
    if make is upernet:
        expected |= with_norm(*(f"decode_head.psp_modules.{i}.1" for i in range(4)))
        expected |= with_norm(*(f"decode_head.{kind}_convs.{i}" for kind in ("lateral", "fpn") for i in range(3)))
        expected |= with_norm("decode_head.bottleneck", "decode_head.fpn_bottleneck")
        expected |= with_norm("auxiliary_head.convs.0") | with_bias("auxiliary_head.conv_seg")
    else:
        prefixes = ("0.0", "1.0", "2.0", "2.2", "3.0", "3.2", "3.4")
        expected |= with_norm(*(f"decode_head.scale_heads.{prefix}" for prefix in prefixes))
        expected |= with_bias(*(f"neck.{kind}_convs.{i}.conv" for kind in ("lateral", "fpn") for i in range(4)))
    assert on_meta(make, name).state_dict().keys() == expected


def test_widths_of_heads_and_neck():
    uper, fpn = on_meta(upernet, "svt_l"), on_meta(semantic_fpn, "svt_l")
    shapes = {key: tuple(value.shape) for key, value in (uper.state_dict() | fpn.state_dict()).items()}
    assert shapes["decode_head.bottleneck.conv.weight"] == (512, 1024 + 4 * 512, 3, 3)
    assert shapes["decode_head.fpn_bottleneck.conv.weight"] == (512, 4 * 512, 3, 3)
    assert shapes["decode_head.psp_modules.3.1.conv.weight"] == (512, 1024, 1, 1)
    assert shapes["auxiliary_head.convs.0.conv.weight"] == (256, 512, 3, 3)
    assert shapes["neck.lateral_convs.3.conv.weight"] == (256, 1024, 1, 1)
    assert shapes["neck.fpn_convs.3.conv.weight"] == (256, 256, 3, 3)
    assert shapes["decode_head.scale_heads.3.2.conv.weight"] == (128, 128, 3, 3)
    assert (uper.num_classes, on_meta(semantic_fpn, "svt_l", num_classes=7).num_classes) == (150, 7)
    assert (uper.neck, fpn.auxiliary_head) == (None, None)
    assert on_meta(upernet, "svt_l", auxiliary=False).auxiliary_head is None


def test_stage_norms_are_published_for_svt_and_can_be_chosen():
    assert on_meta(upernet, "svt_s", stage_norms=False).backbone.norm_list is None
    assert len(on_meta(semantic_fpn, "pcpvt_s", stage_norms=True).backbone.norm_list) == 4


@BOTH
def test_heads_start_as_published(make):
    model = make("svt_small", num_classes=150, channels=64, **TINY)
    for path, module in model.named_modules():
        if isinstance(module, BatchNorm):
            assert (module.eps, module.momentum) == (1e-5, 0.1)
            for kind, value in {"weight": 1, "bias": 0, "running_mean": 0, "running_var": 1}.items():
                assert (getattr(module, kind) == value).all(), f"{path}.{kind}"
        if not isinstance(module, nn.Conv2d) or path.startswith("backbone"):
            continue
        cells = math.prod(module.kernel_size)
        expected_std = math.sqrt(2 / (cells * module.out_channels))
        if path.endswith("conv_seg"):
            expected_std = 0.01
        elif path.startswith("neck"):
            expected_std = math.sqrt(2 / (cells * (module.in_channels + module.out_channels)))
            assert module.weight.abs().max() <= math.sqrt(3) * expected_std, path  # uniform
        six_sigma = 6 / math.sqrt(2 * module.weight.numel())
        assert module.weight.std().item() == pytest.approx(expected_std, rel=six_sigma), path
        assert module.bias is None or not module.bias.any(), path


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"num_classes": 0}, "svt_s: num_classes must be 1 or more, not 0"),
        ({"channels": 0}, "svt_s: channels must be 1 or more, not 0"),
        ({"head_drop": 1.0}, "svt_s: head_drop must lie in [0, 1), not 1.0"),
        ({"head_drop": -0.1}, "svt_s: head_drop must lie in [0, 1), not -0.1"),
        ({"out_indices": (3,)}, "svt_s: the heads say which stages they read: leave out out_indices"),
        ({"features_only": True}, "svt_s: the heads say which stages they read: leave out features_only"),
        ({"num_stages": 2}, "svt_s: the heads say which stages they read: leave out num_stages"),
        ({"depth": (1, 1, 1, 1)}, "svt_s: no such setting 'depth' (did you mean depths?)"),
        ({"in_chans": 0}, "svt_s: in_chans must be 1 or more, not 0"),
    ],
    ids=str,
)
@BOTH
def test_values_that_make_no_network_are_named(make, settings, complaint):
    with pytest.raises(twins.TwinsError, match=f"^{re.escape(complaint)}$"):
        on_meta(make, "svt_s", **settings)


@BOTH
def test_unknown_networks_are_named(make):
    with pytest.raises(twins.TwinsError, match="unknown model 'svt_tiny'"):
        on_meta(make, "svt_tiny")


# ---- what it accepts and returns


@pytest.mark.parametrize("size", [(1, 1), (1, 45), (7, 3), (31, 33), (65, 30), (128, 96)], ids=str)
@pytest.mark.parametrize("training", [False, True])
@BOTH
def test_any_size_gives_logits_at_the_images_size(make, training, size):
    model = tiny(make, in_chans=4).train(training)
    for batch in (1, 2):
        images = torch.randn(batch, 4, *size)
        logits = model(images)
        assert logits.shape == (batch, 5, *size)
        assert logits.isfinite().all()
        heads = model(images, all_heads=True)
        assert list(heads) == (["decode_head", "auxiliary_head"] if make is upernet else ["decode_head"])
        assert {output.shape for output in heads.values()} == {logits.shape}
        if not training:
            assert torch.equal(heads["decode_head"], logits)


def test_the_auxiliary_head_is_computed_only_when_it_is_asked_for():
    model, images, ran = tiny(upernet), torch.randn(1, 3, 32, 32), []
    model.auxiliary_head.register_forward_hook(lambda *_: ran.append(True))
    model(images)
    assert ran == []
    model(images, all_heads=True)
    assert ran == [True]
    assert list(tiny(upernet, auxiliary=False)(images, all_heads=True)) == ["decode_head"]


@BOTH
def test_every_parameter_has_a_gradient_in_one_call(make):
    model = tiny(make).train()
    sum(logits.square().sum() for logits in model(torch.randn(2, 3, 64, 64), all_heads=True).values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_one_image_pooled_to_one_cell_trains_on_running_statistics():
    head = shaken(UPerHead(DIMS, 4, channels=6)).double().train()
    before = copy.deepcopy(head)
    head(maps_of(SIZES[0], batch=1))
    norms = {path: m for path, m in head.named_modules() if isinstance(m, BatchNorm)}
    untouched = {
        path
        for path, norm in norms.items()
        if all(torch.equal(a, b) for a, b in zip(norm.buffers(), before.get_submodule(path).buffers(), strict=True))
    }
    assert untouched == {"psp_modules.0.1.bn"}
    head(maps_of(SIZES[0], batch=2))
    assert not torch.equal(norms["psp_modules.0.1.bn"].running_mean, before.psp_modules[0][1].bn.running_mean)
    assert norms["psp_modules.0.1.bn"].num_batches_tracked == 1


@pytest.mark.parametrize("training", [False, True])
def test_batch_norm_is_pytorchs_otherwise(training):
    ours, theirs = shaken(BatchNorm(3)).train(training), nn.BatchNorm2d(3).train(training)
    theirs.load_state_dict(ours.state_dict())
    for shape in ((2, 3, 1, 1), (1, 3, 1, 2), (4, 3, 5, 6)):
        x = torch.randn(shape)
        assert torch.equal(ours(x), theirs(x))
        assert all(torch.equal(a, b) for a, b in zip(ours.buffers(), theirs.buffers(), strict=True))


def test_batch_norm_of_one_value_a_channel_is_that_of_evaluation():
    norm, x = shaken(BatchNorm(3, eps=0.1)), torch.randn(1, 3, 1, 1)
    torch.testing.assert_close(norm.train()(x), norm.eval()(x))


@pytest.mark.parametrize("make", [UPerHead, FCNHead, lambda dims, *args, **drop: SemanticFPNHead(5, *args, **drop)])
def test_dropout_takes_whole_channels_in_training_only(make):
    head, seen = make(DIMS, 4, drop_rate=0.25), []
    width = head.conv_seg.in_channels
    head.features = lambda maps: torch.ones(8, width, 3, 5)
    head.conv_seg.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    head.eval()([])
    head.train()([])
    assert torch.equal(seen[0], torch.ones(8, width, 3, 5))
    assert seen[1].unique().tolist() == pytest.approx([0, 4 / 3])
    assert torch.equal(seen[1], seen[1][..., :1, :1].expand_as(seen[1]))
    assert (seen[1] == 0).float().mean().item() == pytest.approx(0.25, abs=0.06)


@BOTH
def test_dropout_is_a_tenth_by_default(make):
    model = on_meta(make, "svt_s")
    rates = {path: m.p for path, m in model.named_modules() if isinstance(m, nn.Dropout2d)}
    heads = ("decode_head", "auxiliary_head") if make is upernet else ("decode_head",)
    assert rates == {f"{head}.dropout": 0.1 for head in heads}


# ---- what training asks of a model


@BOTH
def test_checkpointing_and_freezing_reach_the_backbone(make):
    model = on_meta(make, "svt_s")
    model.set_grad_checkpointing()
    assert model.backbone.grad_checkpointing
    model.set_grad_checkpointing(False)
    assert not model.backbone.grad_checkpointing
    frozen = model.freeze_stages(2)
    stages = {f"backbone.{kind}.{s}" for kind in ("patch_embeds", "blocks", "pos_block", "norm_list") for s in range(2)}
    assert {path for path, module in model.named_modules() if any(module is f for f in frozen)} == stages
    still = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert still == {n for n, _ in model.named_parameters() if any(n.startswith(f"{stage}.") for stage in stages)}
    with pytest.raises(ValueError, match=r"freeze_stages must lie in 0\.\.4, not 5"):
        model.freeze_stages(5)


@BOTH
def test_position_encodings_alone_are_exempt_from_weight_decay(make):
    model = on_meta(make, "svt_s")
    expected = {f"backbone.pos_block.{s}.proj.0.{kind}" for s in range(4) for kind in ("weight", "bias")}
    assert model.no_weight_decay() == expected
    assert expected < dict(model.named_parameters()).keys()


@BOTH
def test_learning_rates_fall_with_depth(make):
    optim = pytest.importorskip("timm.optim")
    model = tiny(make, depths=(1, 2, 1, 1))
    optimizer = optim.create_optimizer_v2(model, opt="adamw", lr=1.0, weight_decay=0.1, layer_decay=0.5)
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    scales = {name: groups[id(p)]["lr_scale"] for name, p in model.named_parameters()}
    in_backbone = {name: scale for name, scale in scales.items() if name.startswith("backbone.")}
    assert {scale for name, scale in scales.items() if name not in in_backbone} == {1.0}
    assert in_backbone["backbone.patch_embeds.0.proj.weight"] == min(scales.values())
    order = [f"backbone.blocks.{block}.mlp.fc1.weight" for block in ("0.0", "1.0", "1.1", "2.0", "3.0")]
    assert [math.log2(in_backbone[b] / in_backbone[a]) for a, b in itertools.pairwise(order)] == [1, 1, 1, 1]
    assert in_backbone[order[-1]] == 0.5
    for name, parameter in model.named_parameters():
        exempt = parameter.ndim == 1 or ".pos_block." in name
        assert (groups[id(parameter)]["weight_decay"] == 0) == exempt, name


def test_coarse_groups_are_stages():
    matcher = on_meta(upernet, "svt_s").group_matcher(coarse=True)
    assert re.match(matcher["stem"], "backbone.patch_embeds.0.proj.weight")
    found = [re.match(pattern, "backbone.blocks.2.1.mlp.fc1.weight") for pattern, _ in matcher["blocks"]]
    assert [match.groups() for match in found if match] == [("2",)]
    patterns = [matcher["stem"], *(pattern for pattern, _ in matcher["blocks"])]
    assert all(pattern.startswith(r"^backbone\.") for pattern in patterns)


# ---- checkpoints


CLASSIFIER_ONLY = {"norm.weight", "norm.bias", "head.weight", "head.bias"}


def published(model: Segmenter) -> dict[str, Any]:
    """As mmsegmentation wrote its files: the classifier's last layers along, and what else a training keeps."""
    dim = model.backbone.embed_dims[-1]
    along = {"norm.weight": (dim,), "norm.bias": (dim,), "head.weight": (1000, dim), "head.bias": (1000,)}
    state = model.state_dict() | {f"backbone.{key}": torch.randn(shape) for key, shape in along.items()}
    return {"meta": {"epoch": 16, "CLASSES": ["wall"]}, "state_dict": state, "optimizer": {"state": {}}}


def renamed(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """As later mmsegmentation releases write: the backbone under other names, the heads as before."""
    state = checkpoint["state_dict"]
    trunk = as_openmmlab({key: value for key, value in part(state, "backbone").items()
                          if key not in CLASSIFIER_ONLY}, "mmseg")  # fmt: skip
    trunk = {key.replace("norm_list.", "norm_after_stage"): value for key, value in trunk.items()}
    heads = {key: value for key, value in state.items() if not key.startswith("backbone.")}
    return {"meta": {}, "state_dict": trunk | heads}


def differing(model: nn.Module, state: dict[str, Tensor]) -> Iterator[str]:
    return (key for key, value in model.state_dict().items() if not torch.equal(value, state[key]))


@pytest.mark.parametrize("name", ["twins_svt_small", "twins_pcpvt_small"])
@BOTH
def test_published_files_load_as_they_are(tmp_path, make, name):
    source = tiny(make, name)
    torch.save(published(source), tmp_path / "published.pth")
    model = tiny(make, name, seed=1, weights=tmp_path / "published.pth")
    assert list(differing(tiny(make, name, seed=1), source.state_dict())) != []
    report = model.load_report
    assert (report.dialect, report.source) == ("dense", str(tmp_path / "published.pth"))
    assert set(report.matched) == source.state_dict().keys()
    assert set(report.unused) == CLASSIFIER_ONLY
    assert (report.missing, report.unexpected, report.reshaped, report.notes) == ((), (), {}, ())

    model = tiny(make, name, seed=1)
    report = load_weights(model, renamed(published(source)))
    assert list(differing(model, source.state_dict())) == []
    assert report.dialect == "OpenMMLab"
    assert set(report.matched) == source.state_dict().keys()
    assert (report.missing, report.unexpected, report.unused, report.reshaped) == ((), (), (), {})


@TWELVE
def test_published_files_of_the_real_networks_fit_name_for_name(make, name):
    model = on_meta(make, name)
    report = load_weights(model, renamed(published(on_meta(make, name))))
    assert report.variant == name
    assert set(report.matched) == model.state_dict().keys()
    assert (report.missing, report.unexpected, report.unused) == ((), (), ())


@BOTH
def test_a_classifier_loads_into_the_backbone(make):
    classifier = shaken(twins.create_model("twins_svt_small", num_classes=7, **TINY))
    model, before = tiny(make, seed=1), tiny(make, seed=1).state_dict()
    report = load_weights(model, classifier.state_dict())
    own = set(model.state_dict())
    trunk = {f"backbone.{key}" for key in classifier.state_dict() if key not in CLASSIFIER_ONLY}
    assert set(report.matched) == trunk
    assert set(report.missing) == own - trunk
    assert {key.split(".")[0] for key in report.missing if "norm_list" not in key} == {
        key.split(".")[0] for key in own - trunk
    } - {"backbone"}
    assert set(report.unused) == CLASSIFIER_ONLY
    assert report.unexpected == ()
    assert (
        list(differing(model, prefixed(classifier.state_dict(), "backbone.") | {k: before[k] for k in own - trunk}))
        == []
    )


@BOTH
def test_another_class_count_leaves_the_last_layers_as_they_were(make):
    source, model = tiny(make), tiny(make, seed=1, num_classes=3)
    before = model.state_dict()
    heads = ("decode_head", "auxiliary_head") if make is upernet else ("decode_head",)
    last = {f"{head}.conv_seg.{kind}" for head in heads for kind in ("weight", "bias")}
    kept = {key: before[key].clone() for key in last}
    report = load_weights(model, published(source))
    assert set(report.reshaped) == last
    assert report.reshaped["decode_head.conv_seg.bias"] == "(5,) in the file, (3,) here, left as it was"
    assert report.missing == report.unexpected == ()
    assert list(differing(model, source.state_dict() | kept)) == []


def test_heads_of_another_kind_or_width_are_named():
    kinds = {
        "upernet with 8 channels": tiny(upernet),
        "upernet with 16 channels": tiny(upernet, channels=16),
        "semantic_fpn with 8 channels": tiny(semantic_fpn),
        "semantic_fpn with 12 channels": tiny(semantic_fpn, channels=12, num_classes=3),
    }
    for theirs, source in kinds.items():
        for ours, model in kinds.items():
            if theirs == ours:
                continue
            before = copy.deepcopy(model.state_dict())
            message = (
                f"best.pth holds {theirs}, this model is {ours}: create it alike, or load the file into its backbone"
            )
            with pytest.raises(twins.TwinsError, match=f"^{re.escape(message)}$"):
                load_weights(model, published(source), name="best.pth")
            assert list(differing(model, before)) == []


def test_the_backbone_of_another_segmenter_can_be_had():
    source, model = tiny(semantic_fpn), tiny(upernet, seed=1)
    report = load_weights(model.backbone, published(source))
    assert list(differing(model.backbone, source.backbone.state_dict())) == []
    assert {key.split(".")[0] for key in report.unused} == {"norm", "head", "neck", "decode_head"}


@BOTH
def test_the_first_stages_of_a_segmenter_can_be_had(make):
    first = on_meta(twins.create_model, "pcpvt_l", features_only=True, out_indices=(0,))
    assert load_weights(first, on_meta(make, "pcpvt_l").state_dict()).missing == ()


def test_another_network_is_named_before_another_head():
    with pytest.raises(twins.TwinsError, match="holds twins_svt_base weights, this model is a twins_svt_small"):
        load_weights(on_meta(upernet, "svt_s"), on_meta(semantic_fpn, "svt_b").state_dict())


def test_a_file_without_the_auxiliary_head_and_a_model_without_it():
    source = tiny(upernet)
    bare = tiny(upernet, seed=1, auxiliary=False)
    auxiliary = {key for key in source.state_dict() if key.startswith("auxiliary_head.")}
    assert set(load_weights(bare, published(source)).unused) == CLASSIFIER_ONLY | auxiliary
    assert set(load_weights(tiny(upernet, seed=1), published(bare)).missing) == auxiliary


# ---- compilers, precision


# One image takes the other way through the norm of what is pooled to one cell. The backend eager runs the graph as it
# was traced, aot_eager traces its gradients too.
@pytest.mark.parametrize(
    ("make", "batch", "backend"),
    [
        (upernet, 1, "eager"),
        pytest.param(upernet, 1, "aot_eager", marks=pytest.mark.slow),
        pytest.param(upernet, 2, "aot_eager", marks=pytest.mark.slow),
        pytest.param(semantic_fpn, 1, "aot_eager", marks=pytest.mark.slow),
    ],
)
def test_compiles_as_one_graph_in_training(make, batch, backend):
    torch.compiler.reset()
    model, images = tiny(make).train(), torch.randn(batch, 3, 97, 65)
    compiled = torch.compile(copy.deepcopy(model), fullgraph=True, dynamic=False, backend=backend)
    results = []
    for network in (compiled, model):
        heads = network(images, all_heads=True)
        sum(logits.square().mean() for logits in heads.values()).backward()
        results.append((heads, [p.grad for p in network.parameters()], [*network.buffers()]))
    torch.testing.assert_close(*results, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@BOTH
def test_inductor_computes_the_same(make):
    torch.compiler.reset()
    model, images = tiny(make), torch.randn(2, 3, 97, 65)
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(model, fullgraph=True)(images), model(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("make", [upernet, pytest.param(semantic_fpn, marks=pytest.mark.slow)])
def test_exports(make):
    model, images = tiny(make), torch.randn(1, 3, 97, 65)
    exported = torch.export.export(model, (images,)).module()
    with torch.no_grad():
        torch.testing.assert_close(exported(images), model(images))


@BOTH
def test_half_precision_stays_near(make):
    model, images = tiny(make, channels=32), torch.randn(2, 3, 97, 65)
    with torch.no_grad():
        exact = model(images)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = model(images)
        assert mixed.dtype == torch.bfloat16
        assert float((mixed.float() - exact).norm() / exact.norm()) < 0.02
    with torch.autocast("cpu", torch.bfloat16):
        heads = model.train()(images, all_heads=True)
        loss = sum(logits.float().square().mean() for logits in heads.values())
    loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())

"""One contract for the six networks: what they contain, accept, return and cost."""

from __future__ import annotations

import copy
import itertools
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import twins
from twins import Twins, TwinsBackbone, ops

PARAMETERS = {
    "twins_pcpvt_small": 24_106_216,
    "twins_pcpvt_base": 43_828_456,
    "twins_pcpvt_large": 60_989_672,
    "twins_svt_small": 24_060_776,
    "twins_svt_base": 56_070_952,
    "twins_svt_large": 99_271_400,
}
SIX = list(PARAMETERS)
DIMS = {
    "twins_pcpvt_small": (64, 128, 320, 512),
    "twins_pcpvt_base": (64, 128, 320, 512),
    "twins_pcpvt_large": (64, 128, 320, 512),
    "twins_svt_small": (64, 128, 256, 512),
    "twins_svt_base": (96, 192, 384, 768),
    "twins_svt_large": (128, 256, 512, 1024),
}
STRIDES = (4, 8, 16, 32)
SIZES = [(1, 1), (1, 37), (3, 5), (31, 33), (63, 64), (225, 223)]
SUBSETS = [subset for n in range(1, 5) for subset in itertools.combinations(range(4), n)]

# The two families, every kind of block and both head sizes, small enough to run hundreds of times.
SHALLOW: dict[str, dict[str, Any]] = {
    "twins_svt_small": {"embed_dims": (32, 64, 64, 96), "num_heads": (1, 2, 2, 3), "depths": (2, 2, 2, 2)},
    "twins_pcpvt_small": {"embed_dims": (64, 64, 64, 128), "num_heads": (1, 1, 1, 2), "depths": (1, 2, 1, 1)},
}


def on_meta(name: str, **keywords: Any) -> Twins | TwinsBackbone:
    """Shapes only: nothing is initialised and nothing computed, so that even the large networks cost nothing."""
    with torch.device("meta"):
        return twins.create_model(name, **keywords)


def shallow(name: str, **keywords: Any) -> Any:
    """A classifier for 10 classes, or a backbone, of the family of `name`."""
    return shaken(twins.create_model(name, num_classes=10, **SHALLOW[name] | keywords))


def shaken(model: nn.Module) -> Any:
    """With biases and norm weights that differ from the 0 and 1 they start with."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return model.eval()


def map_sides(pixels: int) -> list[int]:
    """Of the four maps: convolutions drop what is left over, and an axis never becomes shorter than one cell."""
    sides = []
    for patch in (4, 2, 2, 2):
        pixels = max(pixels // patch, 1)
        sides.append(pixels)
    return sides


def relative(actual: Tensor, expected: Tensor) -> float:
    return float((actual.float() - expected.float()).norm() / expected.float().norm())


# ---- what is in a network


@pytest.mark.parametrize("name", SIX)
def test_parameters_number_exactly_as_published(name: str):
    assert sum(p.numel() for p in on_meta(name).parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", SIX)
def test_initial_weights_have_the_published_spread(name: str):
    model = twins.create_model(name, depths=(2, 2, 2, 2))
    for path, module in model.named_modules():
        if isinstance(module, nn.Linear):
            expected_std = 0.02
        elif isinstance(module, nn.Conv2d):
            fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
            expected_std = math.sqrt(2 / fan_out)
        elif isinstance(module, nn.LayerNorm):
            assert torch.equal(module.weight, torch.ones_like(module.weight)), path
            assert torch.equal(module.bias, torch.zeros_like(module.bias)), path
            continue
        else:
            continue
        six_sigma = 6 / math.sqrt(2 * module.weight.numel())  # the relative error of a sample's deviation
        assert module.weight.std().item() == pytest.approx(expected_std, rel=six_sigma), path
        assert torch.equal(module.bias, torch.zeros_like(module.bias)), path


@pytest.mark.parametrize("name", SIX)
def test_norms_have_the_published_epsilons(name: str):
    eps = {path: module.eps for path, module in on_meta(name).named_modules() if isinstance(module, nn.LayerNorm)}
    default = {path for path in eps if path.startswith("patch_embeds") or path.endswith("attn.norm")}
    assert {eps[path] for path in default} == {1e-5}
    assert {eps[path] for path in eps.keys() - default} == {1e-6}


def test_norm_eps_reaches_blocks_and_final_norm_only():
    eps = [m.eps for path, m in on_meta("svt_small", norm_eps=1e-5).named_modules() if isinstance(m, nn.LayerNorm)]
    assert set(eps) == {1e-5}


@pytest.mark.parametrize("name", SIX)
def test_drop_path_grows_linearly_with_depth(name: str):
    rates = [b.drop_path.rate for stage in on_meta(name, drop_path_rate=0.3).blocks for b in stage]
    assert rates == pytest.approx([0.3 * i / (len(rates) - 1) for i in range(len(rates))], abs=1e-7)
    shortened = on_meta(name, drop_path_rate=0.3, features_only=True, out_indices=(1,))
    kept = [b.drop_path.rate for stage in shortened.blocks for b in stage]
    assert kept == rates[: len(kept)]


def test_drop_path_leaves_out_whole_branches_and_scales_the_rest():
    drop_path = shallow("twins_svt_small", drop_path_rate=0.25).blocks[3][1].drop_path
    x = torch.randn(4000, 2, 1, 3)
    assert torch.equal(drop_path(x), x)  # not in training
    ratio = (drop_path.train()(x) / x).flatten(1)
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio))
    left_out = ratio[:, 0] == 0
    torch.testing.assert_close(ratio[~left_out], torch.full_like(ratio[~left_out], 4 / 3))
    assert left_out.float().mean().item() == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("name", SIX)
def test_position_encodings_alone_are_exempt_from_weight_decay(name: str):
    model = on_meta(name)
    assert model.no_weight_decay() == {f"pos_block.{s}.proj.0.{kind}" for s in range(4) for kind in ("weight", "bias")}
    assert model.no_weight_decay() < dict(model.named_parameters()).keys()


# ---- what a network accepts and returns


@pytest.mark.parametrize("num_classes", [0, 10])
@pytest.mark.parametrize("in_chans", [1, 4])
@pytest.mark.parametrize("name", SIX)
def test_channels_and_classes(name: str, in_chans: int, num_classes: int):
    model = on_meta(name, in_chans=in_chans, num_classes=num_classes)
    logits = model(torch.empty(2, in_chans, 64, 96, device="meta"))
    assert logits.shape == (2, num_classes or DIMS[name][-1])


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", SIX)
def test_any_size_has_the_right_shapes(name: str, size: tuple[int, int]):
    images = torch.empty(1, 3, *size, device="meta")
    rows, columns = map_sides(size[0]), map_sides(size[1])
    maps = on_meta(name, features_only=True)(images)
    assert [m.shape[1:] for m in maps] == list(zip(DIMS[name], rows, columns, strict=True))
    assert on_meta(name).forward_features(images).shape == (1, rows[-1] * columns[-1], DIMS[name][-1])


@pytest.mark.parametrize(
    ("name", "padding"),
    [*itertools.product(["twins_svt_small"], ops.WINDOW_PADDINGS), ("twins_pcpvt_small", "mask")],  # without windows
)
@given(height=st.integers(1, 240), width=st.integers(1, 240))
def test_any_size_gives_finite_logits(name: str, padding: str, height: int, width: int):
    model = shallow(name, window_padding=padding)
    with torch.no_grad():
        logits = model(torch.randn(2, 3, height, width))
    assert logits.shape == (2, 10)
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", SHALLOW)
def test_logits_of_an_image_do_not_depend_on_its_batch(name: str):
    model, images = shallow(name), torch.randn(3, 3, 75, 61)
    with torch.no_grad():
        torch.testing.assert_close(model(images), torch.cat([model(image[None]) for image in images]))
        assert model(images[:0]).shape == (0, 10)


@pytest.mark.parametrize("name", SHALLOW)
def test_pixels_left_over_at_the_border_are_dropped(name: str):
    model, images = shallow(name), torch.randn(1, 3, 64, 67)
    with torch.no_grad():
        assert torch.equal(model(images), model(images[..., :64]))


def test_drop_rate_acts_in_training_only():
    model, images = shallow("twins_svt_small", drop_rate=0.5), torch.randn(1, 3, 64, 64)
    undropped = shallow("twins_svt_small")
    undropped.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(model(images), undropped(images))
        assert not torch.allclose(model.train()(images), undropped(images), atol=1e-2)


@pytest.mark.parametrize(
    ("keywords", "complaint"),
    [
        ({"depths": (1, 2, 3)}, r"depths must be four positive numbers, one a stage, not \(1, 2, 3\)"),
        ({"depths": (1, 2, 0, 1)}, "depths must be four positive numbers"),
        ({"num_heads": (3, 4, 8, 16)}, "num_heads must divide embed_dims: 3 does not divide 64"),
        ({"in_chans": 0}, "in_chans must be 1 or more, not 0"),
        ({"num_classes": -1}, "num_classes must be 0 or more, not -1"),
        ({"window_size": 0}, "window_size must be 1 or more, or None for no windows, not 0"),
        ({"window_padding": "reflect"}, "window_padding must be one of mask, zero, mask-both, not 'reflect'"),
        ({"drop_path_rate": 1.0}, r"drop_path_rate must lie in \[0, 1\), not 1.0"),
        ({"features_only": True, "out_indices": (4,)}, r"out_indices must lie in -4..3, not \(4,\)"),
        ({"features_only": True, "out_indices": ()}, r"out_indices must lie in -4..3, not \(\)"),
    ],
    ids=str,
)
def test_values_that_make_no_network_are_named(keywords: dict[str, Any], complaint: str):
    with pytest.raises(twins.TwinsError, match=complaint):
        on_meta("svt_small", **keywords)


def test_classes_refuse_what_they_do_not_know():
    with pytest.raises(TypeError, match="no_such_thing"):
        Twins(no_such_thing=1)
    with pytest.raises(ValueError, match=r"global_pool must be 'avg' or '' \(none\), not 'max'"):
        Twins(global_pool="max")


# ---- features for dense prediction


@pytest.mark.parametrize("out_indices", SUBSETS, ids=str)
@pytest.mark.parametrize("name", SIX)
def test_backbone_describes_the_maps_it_gives(name: str, out_indices: tuple[int, ...]):
    backbone = on_meta(name, features_only=True, out_indices=out_indices, depths=(1, 1, 1, 1))
    maps = backbone(torch.empty(1, 3, 64, 96, device="meta"))
    assert [m.shape for m in maps] == [(1, DIMS[name][s], 64 // STRIDES[s], 96 // STRIDES[s]) for s in out_indices]
    assert backbone.feature_info.channels() == [DIMS[name][s] for s in out_indices]
    assert backbone.feature_info.reduction() == [STRIDES[s] for s in out_indices]
    assert backbone.feature_info.module_name() == [f"blocks.{s}" for s in out_indices]
    # nothing is built that no wanted map needs
    prefixes = {".".join(path.split(".")[:2]) for path in backbone.state_dict()}
    parts = ("patch_embeds", "blocks", "pos_block")
    assert prefixes == {f"{part}.{s}" for part in parts for s in range(max(out_indices) + 1)}


@pytest.mark.parametrize("name", SHALLOW)
def test_backbone_gives_the_maps_of_the_classifier(name: str):
    model, images = shallow(name), torch.randn(2, 3, 70, 101)
    dense = shallow(name, features_only=True, out_indices=(-1, 0, 2))
    dense.load_state_dict({key: model.state_dict()[key] for key in dense.state_dict()})
    with torch.no_grad():
        maps = model.forward_intermediates(images, intermediates_only=True)
        assert all(torch.equal(a, maps[s]) for a, s in zip(dense(images), (0, 2, 3), strict=True))
        assert all(m.is_contiguous() for m in dense(images))


def test_normed_maps_of_stages_are_given_and_feed_the_next_stage():
    model = shallow("twins_svt_small", features_only=True, stage_norms=True)
    assert {key for key in model.state_dict() if key.startswith("norm_list")} == {
        f"norm_list.{s}.{kind}" for s in range(4) for kind in ("weight", "bias")
    }
    assert {norm.eps for norm in model.norm_list} == {1e-6}
    normed: list[Tensor] = []
    embedded: list[Tensor] = []
    for norm, embed in zip(model.norm_list, model.patch_embeds, strict=True):
        norm.register_forward_hook(lambda _, inputs, output: normed.append(output))
        embed.register_forward_pre_hook(lambda _, inputs: embedded.append(inputs[0]))
    maps = model(torch.randn(1, 3, 64, 64))
    assert len(normed) == 4
    assert all(torch.equal(m, n.permute(0, 3, 1, 2)) for m, n in zip(maps, normed, strict=True))
    assert all(fed is n for fed, n in zip(embedded[1:], normed[:-1], strict=True))


# ---- timm's model interface


@pytest.mark.parametrize("name", SHALLOW)
def test_forward_is_features_then_head(name: str):
    model, images = shallow(name), torch.randn(2, 3, 64, 96)
    tokens = model.forward_features(images)
    assert tokens.shape == (2, 2 * 3, model.num_features)
    pooled = model.forward_head(tokens, pre_logits=True)
    torch.testing.assert_close(pooled, tokens.mean(dim=1))
    assert torch.equal(model(images), model.get_classifier()(pooled))
    model.reset_classifier(0)
    assert torch.equal(model(images), pooled)
    model.reset_classifier(0, "")
    assert torch.equal(model(images), tokens)


def test_reset_classifier_follows_dtype_and_mode_and_keeps_the_pooling():
    model = shallow("twins_svt_small").double()
    model.reset_classifier(0, "")
    model.reset_classifier(7)
    assert (model.num_classes, model.global_pool, model.head.out_features) == (7, "", 7)
    assert model.head.weight.dtype == torch.float64
    assert not model.head.training
    assert model.head.weight.std().item() == pytest.approx(0.02, rel=0.2)
    assert torch.equal(model.head.bias, torch.zeros(7, dtype=torch.float64))


@pytest.mark.parametrize(
    ("indices", "stages"), [(None, (0, 1, 2, 3)), (2, (2, 3)), ([0, -1], (0, 3)), ((3, 1), (1, 3))], ids=str
)
def test_forward_intermediates_takes_indices_as_timm_does(indices: int | Sequence[int] | None, stages: tuple[int, ...]):
    model, images = shallow("twins_pcpvt_small"), torch.randn(1, 3, 64, 96)
    every = model.forward_intermediates(images, intermediates_only=True)
    tokens, maps = model.forward_intermediates(images, indices)
    assert torch.equal(tokens, model.forward_features(images))
    assert all(torch.equal(m, every[s]) for m, s in zip(maps, stages, strict=True))
    channels_last = model.forward_intermediates(images, indices, output_fmt="NHWC", intermediates_only=True)
    assert all(torch.equal(a, b.permute(0, 2, 3, 1)) for a, b in zip(channels_last, maps, strict=True))


def test_forward_intermediates_norms_the_last_map_and_stops_early():
    model, images = shallow("twins_svt_small"), torch.randn(1, 3, 64, 96)
    tokens, maps = model.forward_intermediates(images, norm=True)
    assert torch.equal(maps[3].flatten(2).mT, tokens)
    ran: list[int] = []
    for s, embed in enumerate(model.patch_embeds):
        embed.register_forward_hook(lambda *_, s=s: ran.append(s))
    last, early = model.forward_intermediates(images, [1], norm=True, stop_early=True)
    assert ran == [0, 1]
    assert torch.equal(early[0], maps[1])
    assert torch.equal(last, maps[1].flatten(2).mT)


@pytest.mark.parametrize("indices", [0, 5, 8, [], [4], [-5]], ids=str)
def test_feature_indices_that_are_not_there_are_refused(indices: int | list[int]):
    model, images = on_meta("svt_small"), torch.empty(1, 3, 32, 32, device="meta")
    with pytest.raises(ValueError, match=r"-4\.\.3|last 1 to 4"):
        model.forward_intermediates(images, indices)
    with pytest.raises(ValueError, match=r"-4\.\.3|last 1 to 4"):
        model.prune_intermediate_layers(indices)
    with pytest.raises(ValueError, match="output_fmt must be NCHW or NHWC, not 'NLC'"):
        model.forward_intermediates(images, output_fmt="NLC")


@pytest.mark.parametrize("stage_norms", [False, True])
def test_pruning_keeps_maps_and_no_unused_parameter(stage_norms: bool):
    model = shaken(Twins(10, stage_norms=stage_norms, **SHALLOW["twins_svt_small"]))
    images = torch.randn(1, 3, 64, 64)
    maps = model.forward_intermediates(images, intermediates_only=True)
    pruned = copy.deepcopy(model)
    assert pruned.prune_intermediate_layers([-3]) == [1]
    assert (pruned.num_features, pruned.head_hidden_size) == (64, 64)
    kept = pruned.forward_intermediates(images, [1], intermediates_only=True)
    assert torch.equal(kept[0], maps[1])
    kept[0].sum().backward()
    assert [name for name, p in pruned.named_parameters() if p.grad is None] == []
    assert torch.equal(pruned(images), maps[1].flatten(2).mT)


# ---- memory, compilers, precision


def saved_bytes(model: nn.Module, images: Tensor) -> tuple[int, Any]:
    """What the forward pass saves for the backward pass, beside parameters, and the output."""
    parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = model(images)
    return sum(kept.values()), output


@pytest.mark.parametrize("name", SHALLOW)
def test_gradient_checkpointing_keeps_less_and_changes_nothing(name: str):
    model = shallow(name, depths=(3, 3, 3, 3), drop_path_rate=0.3, drop_rate=0.1).train()
    images = torch.randn(4, 3, 75, 61)

    def train() -> tuple[int, list[Tensor]]:
        torch.manual_seed(1)  # the recomputed blocks must drop what the first pass dropped
        kept, output = saved_bytes(model, images)
        return kept, list(torch.autograd.grad(output.square().sum(), list(model.parameters())))

    plain, gradients = train()
    model.set_grad_checkpointing()
    less, same = train()
    assert all(torch.equal(a, b) for a, b in zip(same, gradients, strict=True))
    assert plain / less > 5
    model.set_grad_checkpointing(False)
    assert train()[0] == plain


def test_checkpointed_backbone_keeps_an_eighth():
    model, images = twins.create_model("svt_small", features_only=True), torch.randn(2, 3, 64, 64)
    plain, _ = saved_bytes(model, images)
    model.set_grad_checkpointing()
    less, _ = saved_bytes(model, images)
    assert plain / less == pytest.approx(8.3, abs=0.3)


@pytest.mark.parametrize("name", SHALLOW)
def test_compiles_as_one_graph_at_odd_sizes(name: str):
    torch.compiler.reset()
    windows = name == "twins_svt_small"
    model = shallow(name, depths=(2 if windows else 1, 1, 1, 1))  # every kind of block, few of them
    compiled = torch.compile(model, fullgraph=True, dynamic=False, backend="aot_eager")
    for size in ((65, 93), (3, 64)) if windows else ((3, 93),):
        images = torch.randn(2, 3, *size)
        results = []
        for network in (compiled, model):
            model.zero_grad()
            logits = network(images)
            logits.square().sum().backward()
            results.append((logits, [p.grad.clone() for p in model.parameters()]))
        torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHALLOW)
def test_inductor_computes_the_same(name: str):
    torch.compiler.reset()
    model, images = shallow(name, depths=(2, 1, 1, 1)), torch.randn(2, 3, 65, 93)
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(model, fullgraph=True)(images), model(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SHALLOW)
def test_exports_with_a_free_batch(name: str):
    model, images = shallow(name), torch.randn(3, 3, 65, 93)
    exported = torch.export.export(model, (images[:2],), dynamic_shapes=({0: torch.export.Dim("batch")},)).module()
    with torch.no_grad():
        for batch in (1, 3):
            torch.testing.assert_close(exported(images[:batch]), model(images[:batch]))


@pytest.mark.parametrize("name", SHALLOW)
def test_half_precision_stays_near(name: str):
    model, images = shallow(name), torch.randn(2, 3, 75, 61)
    with torch.no_grad():
        exact = model(images)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = model(images)
        assert mixed.dtype == torch.bfloat16
        assert relative(mixed, exact) < 0.04
        for dtype, bound in ((torch.bfloat16, 0.04), (torch.float16, 0.005)):
            rounded = copy.deepcopy(model).to(dtype)(images.to(dtype))
            assert rounded.dtype == dtype
            assert relative(rounded, exact) < bound
        torch.testing.assert_close(model.double()(images.double()).float(), exact, rtol=1e-4, atol=1e-5)


# ---- model.py and ops/ on their own

STANDALONE = """
import sys, torch
for absent in ("twins", "timm", "torchvision"):
    sys.modules[absent] = None
from lifted.model import VARIANTS, Twins
model = Twins(num_classes=10, **VARIANTS["twins_svt_small"]._asdict() | torch.load("settings.pt")).eval()
model.load_state_dict(torch.load("weights.pt"))
with torch.no_grad():
    torch.save(model(torch.load("images.pt")), "logits.pt")
"""


def test_model_and_ops_work_when_copied_out(tmp_path: Path):
    source, lifted = Path(twins.__file__).parent, tmp_path / "lifted"
    shutil.copytree(source / "ops", lifted / "ops", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(source / "model.py", lifted)
    (lifted / "__init__.py").touch()
    model, images = shallow("twins_svt_small"), torch.randn(1, 3, 50, 70)
    for file, content in (
        ("settings", SHALLOW["twins_svt_small"]),
        ("weights", model.state_dict()),
        ("images", images),
    ):
        torch.save(content, tmp_path / f"{file}.pt")
    done = subprocess.run([sys.executable, "-c", STANDALONE], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with torch.no_grad():
        torch.testing.assert_close(torch.load(tmp_path / "logits.pt"), model(images))


@pytest.mark.slow
def test_the_page_on_networks_runs_and_prints_what_it_says(capsys: pytest.CaptureFixture[str]):
    page = (Path(__file__).parents[1] / "docs" / "networks.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    for snippet in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(snippet, names)
    printed = capsys.readouterr().out
    for metric in ("17.1969", "19.8385", "[128, 256, 512] [8, 16, 32]", "twins.model [320, 512]", "621.67", "76.06"):
        assert metric in printed


@pytest.mark.parametrize("settings", [{"stage_norms": True}, {"out_indices": (1, 2)}])
def test_a_backbones_settings_are_not_dropped_by_a_classifier(settings: dict[str, Any]):
    with pytest.raises(twins.TwinsError, match="pass features_only=True"):
        twins.create_model("twins_svt_small", **settings)

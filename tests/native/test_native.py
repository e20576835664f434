"""The CPU engine against PyTorch: the same outputs for every network, size and CPU; and what `freeze` is."""

from __future__ import annotations

import copy
import io
import itertools
import logging
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import twins
from helpers.frozen_networks import (
    SMALL,
    assert_close,
    network,
    outputs_of,
    randomised,
    reference_outputs_of,
    small,
)
from helpers.grids import every_pair
from twins.native import Frozen, frozen, library, matmul_speed
from twins.native.packing import DTYPES

SIZES = [(1, 1), (3, 5), (7, 7), (33, 57), (64, 223), (225, 300)]
PADDINGS = ("mask", "zero", "mask-both")
SUBSETS = [subset for n in range(1, 5) for subset in itertools.combinations(range(4), n)]
pytestmark = pytest.mark.usefixtures("nan_memory")
needs_engine = pytest.mark.skipif(library.missing() is not None, reason="the engine is not built")


@pytest.fixture(autouse=True)
def log_anew() -> None:
    """What is logged once a process is logged anew in every test."""
    frozen._say_once.cache_clear()


def assert_outputs_agree(model: nn.Module, images: Tensor, within: float = 1e-5) -> None:
    assert_close(outputs_of(twins.freeze(model), images), reference_outputs_of(model, images), within)


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no compiler")
def test_the_engine_is_built_where_it_can_be() -> None:
    assert library.missing() is None


# ---- fp32: the outputs of the model


@needs_engine
@every_pair(name=list(SMALL), padding=PADDINGS, size=SIZES)
def test_any_size_and_padding(name: str, padding: str, size: tuple[int, int]) -> None:
    assert_outputs_agree(small(name, window_padding=padding), torch.randn(2, 3, *size))


@needs_engine
@pytest.mark.parametrize("name", twins.list_models())
def test_the_six_networks(name: str) -> None:
    model = network(name)
    images = torch.randn(2, 3, 71, 96)
    outputs = twins.freeze(model)
    assert isinstance(outputs, Frozen)
    assert_close([outputs(images)], reference_outputs_of(model, images))


@needs_engine
@pytest.mark.parametrize("name", twins.list_models())
def test_the_six_backbones(name: str) -> None:
    shallow = {"depths": (2, 2, 2, 2), "stage_norms": "svt" in name, "window_padding": "mask-both"}
    model = network(name, features_only=True, **shallow)
    assert_outputs_agree(model, torch.randn(1, 3, 60, 113))


@needs_engine
@pytest.mark.parametrize("out_indices", SUBSETS, ids=str)
@pytest.mark.parametrize("stage_norms", [False, True], ids=["plain", "normed"])
def test_backbones_return_the_wanted_maps(stage_norms: bool, out_indices: tuple[int, ...]) -> None:
    for name in SMALL:
        model = small(name, features_only=True, out_indices=out_indices, stage_norms=stage_norms)
        images = torch.randn(2, 3, 50, 75)
        maps = twins.freeze(model)(images)
        assert_close(maps, reference_outputs_of(model, images))
        assert all(m.is_contiguous(memory_format=torch.channels_last) for m in maps)


@needs_engine
@pytest.mark.usefixtures("more_threads_than_cpus")
@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("batch", [1, 2, 3, 5, 16, 64])
def test_any_batch_on_any_number_of_threads(batch: int, threads: int) -> None:
    before = torch.get_num_threads()
    for name, size in zip(SMALL, [(40, 57), (33, 64)], strict=True):
        model, images = small(name), torch.randn(batch, 3, *size)
        expected = reference_outputs_of(model, images)
        try:
            torch.set_num_threads(threads)
            actual = outputs_of(twins.freeze(model), images)
        finally:
            torch.set_num_threads(before)
        assert_close(actual, expected)


@needs_engine
def test_groups_of_images_that_do_not_divide_the_batch() -> None:
    """Large images go one by one, small ones by the dozen: every boundary between them lies somewhere here."""
    model = small(depths=(1, 2, 1, 1))
    frozen_model = twins.freeze(model)
    for batch in (7, 65, 131):
        images = torch.randn(batch, 3, 32, 36)
        assert_close(outputs_of(frozen_model, images), reference_outputs_of(model, images))
    images = torch.randn(3, 3, 420, 333)
    assert_close(outputs_of(frozen_model, images), reference_outputs_of(model, images))


@needs_engine
@pytest.mark.parametrize("in_chans", [1, 2, 4, 5])
def test_any_number_of_channels(in_chans: int) -> None:
    assert_outputs_agree(small(in_chans=in_chans), torch.randn(2, in_chans, 37, 66))


@needs_engine
@pytest.mark.parametrize("num_classes", [0, 1, 7, 16, 17, 1000])
def test_any_number_of_classes(num_classes: int) -> None:
    assert_outputs_agree(small(num_classes=num_classes), torch.randn(5, 3, 36, 40))


@needs_engine
@pytest.mark.parametrize("window", range(1, 10))
@pytest.mark.parametrize("padding", PADDINGS)
def test_any_window_up_to_nine(padding: str, window: int) -> None:
    model = small(window_size=window, window_padding=padding, depths=(1, 1, 1, 1))
    for size in ((36, 76), (57, 33), (4 * window, 8 * window)):
        assert_outputs_agree(model, torch.randn(2, 3, *size))


@needs_engine
@pytest.mark.parametrize("width", [16, 32, 48, 64, 96, 128])
def test_any_width_of_heads(width: int) -> None:
    dims = (width, 2 * width, width, width)
    model = small(embed_dims=dims, num_heads=(1, 2, 1, 1), mlp_ratios=(1, 2, 3, 1))
    assert_outputs_agree(model, torch.randn(2, 3, 61, 50))


@needs_engine
@pytest.mark.parametrize("keys", [127, 128, 129, 144, 255, 256, 257, 400])
def test_more_keys_than_a_block_holds(keys: int) -> None:
    """Without shrinking every token is a key: one line of tokens has as many as it is long."""
    ratios = {"sr_ratios": (1, 1, 1, 1), "depths": (1, 1, 1, 1)}
    assert_outputs_agree(small("twins_pcpvt_small", **ratios), torch.randn(2, 3, 4, 4 * keys + 1))


@needs_engine
@pytest.mark.parametrize("sr_ratios", [(2, 3, 5, 7), (16, 1, 8, 2)], ids=str)
def test_any_shrinking_of_keys(sr_ratios: tuple[int, ...]) -> None:
    assert_outputs_agree(small("twins_pcpvt_small", sr_ratios=sr_ratios), torch.randn(2, 3, 77, 130))


@needs_engine
def test_large_activations_leave_the_softmax_stable() -> None:
    """Scores in the hundreds: weights of 0 and 1 alone, and exponentials that would overflow."""
    for name in SMALL:
        model = randomised(small(name, depths=(2, 2, 1, 1), sr_ratios=(2, 1, 1, 1)), spread=3.0)
        images = 100 * torch.randn(2, 3, 66, 90)
        expected = outputs_of(copy.deepcopy(model).double(), images.double())
        assert_close(outputs_of(twins.freeze(model), images), expected, within=2e-4)


@needs_engine
def test_norms_of_constant_images_are_exact_enough() -> None:
    """Tokens that hardly differ: variances near the epsilons."""
    for value in (0.0, 1e-4, 1000.0):
        assert_outputs_agree(small(), torch.full((1, 3, 40, 40), value))


@needs_engine
def test_no_images_no_outputs() -> None:
    assert twins.freeze(small())(torch.empty(0, 3, 32, 32)).shape == (0, 10)
    maps = twins.freeze(small(features_only=True, out_indices=(1, 3)))(torch.empty(0, 3, 32, 64))
    assert [m.shape for m in maps] == [(0, 32, 4, 8), (0, 96, 1, 2)]


@needs_engine
def test_strided_and_channels_last_images() -> None:
    model, images = small(), torch.randn(2, 3, 70, 64)
    frozen_model, expected = twins.freeze(model), reference_outputs_of(model, images[:, :, ::2])
    assert_close([frozen_model(images[:, :, ::2])], expected)
    assert_close([frozen_model(images[:, :, ::2].to(memory_format=torch.channels_last))], expected)


@needs_engine
def test_images_of_a_batch_do_not_touch_one_another() -> None:
    frozen_model, images = twins.freeze(small()), torch.randn(5, 3, 45, 61)
    before = frozen_model(images)
    images[2] = float("nan")
    after = frozen_model(images)
    assert after[2].isnan().all()
    others = [0, 1, 3, 4]
    assert_close([after[others]], [before[others]])


# ---- every CPU


@needs_engine
@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_instruction_set_agrees(instruction_set: str, dtype: str, name: str) -> None:
    """Only fp32 has one right output; the other dtypes have tests of their own."""
    within = {"fp32": 1e-5, "bf16": 0.1, "int8": 0.3}[dtype]
    for keywords in ({"window_padding": "zero"}, {"features_only": True, "stage_norms": True}):
        model, images = small(name, **keywords), torch.randn(3, 3, 64, 93)
        frozen_model = twins.freeze(model, dtype)
        assert frozen_model.backend == f"native, {dtype}, {library.instruction_set(dtype)}"
        assert_close(outputs_of(frozen_model, images), reference_outputs_of(model, images), within)


@needs_engine
def test_an_unknown_instruction_set_is_named_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen_model = twins.freeze(small())
    monkeypatch.setenv(library.ISA_VARIABLE, "portabel")
    with pytest.raises(twins.TwinsError, match=r"TWINS_ISA=portabel: .*\(did you mean portable\?\)"):
        frozen_model(torch.randn(1, 3, 32, 32))
    monkeypatch.setenv(library.ISA_VARIABLE, "")
    assert frozen_model(torch.randn(1, 3, 32, 32)).isfinite().all()


# ---- what a frozen network is


@needs_engine
def test_freeze_leaves_the_model_as_it_is() -> None:
    model = small().train()
    before = copy.deepcopy(model.state_dict())
    images = torch.randn(2, 3, 40, 52)
    frozen_model = twins.freeze(model)
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())
    expected = reference_outputs_of(copy.deepcopy(model).eval(), images)
    randomised(model)  # what becomes of the model is nothing to what was frozen
    assert_close([frozen_model(images)], expected)


@needs_engine
def test_a_model_in_training_mode_with_dropout_is_frozen_for_inference() -> None:
    model = small(drop_rate=0.3, drop_path_rate=0.4).train()
    images = torch.randn(2, 3, 40, 52)
    actual = twins.freeze(model)(images)
    assert_close([actual], reference_outputs_of(model.eval(), images))


@needs_engine
@pytest.mark.parametrize("weights", [torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_weights_of_any_precision(weights: torch.dtype) -> None:
    model = small(features_only=True, stage_norms=True).to(weights)
    images = torch.randn(1, 3, 40, 52)
    actual = outputs_of(twins.freeze(model), images)
    assert_close(actual, reference_outputs_of(model.float(), images))


@needs_engine
def test_copies_and_files_compute_alike(tmp_path: Path) -> None:
    images = torch.randn(2, 3, 40, 52)
    for dtype in DTYPES:
        original = twins.freeze(small(), dtype)
        expected = original(images)
        torch.save(original, tmp_path / "frozen.pt")
        buffer = io.BytesIO()
        torch.save(original.state_dict(), buffer)
        buffer.seek(0)
        other = twins.freeze(small(), dtype)
        assert not torch.equal(other(images), expected)
        other.load_state_dict(torch.load(buffer, weights_only=True))
        pickled = pickle.loads(pickle.dumps(original))  # noqa: S301
        from_file = torch.load(tmp_path / "frozen.pt", weights_only=False)
        for result in (copy.deepcopy(original), pickled, from_file, other):
            assert torch.equal(result(images), expected)
            assert result.backend == original.backend


@needs_engine
def test_a_frozen_network_describes_itself() -> None:
    model = small()
    result = twins.freeze(model, "bf16")
    for name in ("in_chans", "embed_dims", "num_classes", "num_features"):
        assert getattr(result, name) == getattr(model, name)
    assert result.backend == f"native, bf16, {library.instruction_set('bf16')}"
    assert not result.training
    assert list(result.state_dict()) == ["packed"]
    assert "MiB" in repr(result)
    backbone = small(features_only=True, out_indices=(0, 2))
    assert twins.freeze(backbone).feature_info.channels() == [16, 64]
    assert twins.freeze(backbone).out_indices == (0, 2)


@needs_engine
def test_outputs_need_no_gradients() -> None:
    model = twins.freeze(small())
    assert not model(torch.randn(1, 3, 32, 32)).requires_grad
    with torch.inference_mode():
        assert model(torch.randn(1, 3, 32, 32)).isfinite().all()


# ---- PyTorch's compilers


@needs_engine
@pytest.mark.parametrize("keywords", [{}, {"features_only": True, "out_indices": (1, 3)}], ids=["logits", "maps"])
def test_compiles_as_one_graph(keywords: dict[str, Any]) -> None:
    model = twins.freeze(small(**keywords))
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=True)
    for size in ((2, 3, 40, 52), (3, 3, 33, 61)):
        images = torch.randn(size)
        for actual, expected in zip(outputs_of(compiled, images), outputs_of(model, images), strict=True):
            assert torch.equal(actual, expected)
            assert actual.stride() == expected.stride()


@pytest.mark.slow
@needs_engine
def test_compiles_with_inductor() -> None:
    model, images = twins.freeze(small(features_only=True)), torch.randn(2, 3, 40, 52)

    def after(x: Tensor) -> list[Tensor]:
        return [m.relu() + 1 for m in model(x)]

    assert_close(torch.compile(after, fullgraph=True)(images), after(images))


@needs_engine
@pytest.mark.parametrize("keywords", [{}, {"features_only": True, "out_indices": (0, 2)}], ids=["logits", "maps"])
def test_exports_with_any_batch_and_size(keywords: dict[str, Any], tmp_path: Path) -> None:
    model = twins.freeze(small(**keywords))
    dims = {0: torch.export.Dim("batch"), 2: torch.export.Dim("height", min=32), 3: torch.export.Dim("width", min=32)}
    program = torch.export.export(model, (torch.randn(2, 3, 64, 64),), dynamic_shapes={"images": dims})
    assert list(program.state_dict) == ["packed"]
    torch.export.save(program, tmp_path / "frozen.pt2")
    loaded = torch.export.load(tmp_path / "frozen.pt2").module()
    images = torch.randn(5, 3, 50, 71)
    for actual, expected in zip(outputs_of(loaded, images), outputs_of(model, images), strict=True):
        assert torch.equal(actual, expected)


@needs_engine
@pytest.mark.parametrize("keywords", [{}, {"features_only": True, "out_indices": (0, 2)}], ids=["logits", "maps"])
def test_the_operator_keeps_pytorchs_rules(keywords: dict[str, Any]) -> None:
    model = twins.freeze(small(**keywords))
    for size in ((2, 3, 40, 52), (1, 3, 3, 5)):
        torch.library.opcheck(torch.ops.twins.frozen, (torch.randn(size), model.packed, model.stages, model.widths))


# ---- segmenters and detectors


@needs_engine
@pytest.mark.parametrize("make", [twins.upernet, twins.semantic_fpn])
def test_segmenters_compute_alike(make: Any) -> None:
    model = randomised(make("twins_svt_small", num_classes=5, **SMALL["twins_svt_small"])).eval()
    images = torch.randn(2, 3, 75, 90)
    result = twins.freeze(model)
    assert isinstance(result.backbone, Frozen)
    assert not isinstance(model.backbone, Frozen)
    assert not any(parameter.requires_grad for parameter in result.parameters())
    assert_close([result(images)], outputs_of(model, images))
    released = twins.freeze(model, release=True)
    assert torch.equal(released(images), result(images))
    assert sum(parameter.numel() for parameter in model.backbone.blocks.parameters()) == 0
    assert all(parameter.numel() for parameter in model.decode_head.parameters())


@needs_engine
@pytest.mark.parametrize("make", [twins.retinanet, twins.mask_rcnn])
def test_detectors_find_alike(make: Any) -> None:
    narrow = {"channels": 16, "min_size": 64, "max_size": 96}
    model = make("twins_svt_small", num_classes=5, **narrow, **SMALL["twins_svt_small"]).eval()
    randomised(model.backbone)
    images = [torch.rand(3, 75, 90), torch.rand(3, 64, 50)]
    with torch.no_grad():
        found, expected = twins.freeze(model)(images), model(images)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.keys() == theirs.keys()
        assert torch.equal(ours["labels"], theirs["labels"])
        for key in ours:
            torch.testing.assert_close(ours[key], theirs[key], rtol=1e-4, atol=1e-3)


# ---- what it refuses, and what it leaves to PyTorch


@needs_engine
@pytest.mark.parametrize(
    ("images", "complaint"),
    [
        (torch.randn(3, 32, 32), r"takes \(B, 3, H, W\) images, not \(3, 32, 32\)"),
        (torch.randn(1, 4, 32, 32), r"takes \(B, 3, H, W\) images, not \(1, 4, 32, 32\)"),
        (torch.randn(1, 3, 32, 32, dtype=torch.float64), "takes float32 images on the CPU, not torch.float64"),
        (torch.randint(255, (1, 3, 32, 32)), "takes float32 images on the CPU, not torch.int64"),
        (torch.randn(1, 3, 32, 32, device="meta"), "takes float32 images on the CPU, not torch.float32 on meta"),
    ],
    ids=["3-D", "channels", "float64", "int64", "meta"],
)
def test_wrong_images_are_refused(images: Tensor, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        twins.freeze(small())(images)


def test_an_unknown_dtype_is_named_with_the_nearest() -> None:
    with pytest.raises(twins.TwinsError, match=r"dtype must be one of .*, not 'fp23' \(did you mean fp32\?\)"):
        twins.freeze(small(), "fp23")


def test_what_is_no_network_of_ours_is_refused() -> None:
    with pytest.raises(twins.TwinsError, match="not a Linear"):
        twins.freeze(nn.Linear(2, 2))


def test_a_model_without_weights_is_refused() -> None:
    with torch.device("meta"):
        model = twins.create_model("twins_svt_small", **SMALL["twins_svt_small"])
    with pytest.raises(twins.TwinsError, match="meta"):
        twins.freeze(model)


@needs_engine
@pytest.mark.parametrize("dtype", DTYPES)
def test_released_weights_are_packed_the_same_and_gone_from_the_model(dtype: str) -> None:
    model = small()
    kept = twins.freeze(model, dtype)
    assert torch.equal(twins.freeze(model, dtype, release=True).packed, kept.packed)
    assert sum(parameter.numel() for parameter in model.blocks.parameters()) == 0
    with pytest.raises(twins.TwinsError, match="released"):
        twins.freeze(model, dtype)


class Doubled(nn.Linear):
    """Somebody's own layer."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Louder(twins.Twins):
    """Somebody's own network."""

    def forward(self, images: Tensor) -> Tensor:
        return 3 * super().forward(images)


def with_part(path: str, part: nn.Module) -> Any:
    model = small()
    model.set_submodule(path, part)
    return model


def with_hook(path: str) -> Any:
    model = small()
    model.get_submodule(path).register_forward_hook(lambda _, inputs, output: output * 2)
    return model


def with_pre_hook(path: str) -> Any:
    model = small()
    model.get_submodule(path).register_forward_pre_hook(lambda _, inputs: (inputs[0] * 2,))
    return model


def with_forward_of_its_own() -> Any:
    model = small()
    plain = model.blocks[1][0].forward
    model.blocks[1][0].forward = lambda x: 2 * plain(x)
    return model


UNUSUAL: dict[str, Any] = {
    "window of 14": lambda: small(window_size=14),
    "odd width": lambda: small(embed_dims=(16, 24, 32, 32), num_heads=(1, 1, 1, 1)),
    "odd heads": lambda: small(num_heads=(2, 2, 1, 3)),
    "no pooling": lambda: small_without_pooling(),
    "layer": lambda: with_part("blocks.1.1.attn.q", Doubled(32, 32)),
    "layers": lambda: with_part("blocks.2.0.mlp.fc1", nn.Sequential(nn.Linear(64, 256), nn.Tanh())),
    "no norm": lambda: with_part("blocks.0.0.norm1", nn.Identity()),
    "another norm": lambda: with_part("patch_embeds.1.norm", nn.RMSNorm(32)),
    "norm without weights": lambda: with_part("blocks.3.1.norm2", nn.LayerNorm(96, elementwise_affine=False)),
    "norm without bias": lambda: with_part("blocks.3.1.norm2", nn.LayerNorm(96, bias=False)),
    "no bias": lambda: with_part("blocks.0.0.attn.qkv", nn.Linear(16, 48, bias=False)),
    "no bias of q": lambda: with_part("blocks.0.1.attn.q", nn.Linear(16, 16, bias=False)),
    "head": lambda: with_part("head", nn.Sequential(nn.Linear(96, 10), nn.Tanh())),
    "last norm": lambda: with_part("norm", nn.Identity()),
    "block": lambda: with_part("blocks.2.1", nn.Identity()),
    "no encoding": lambda: with_part("pos_block.1", nn.Identity()),
    "another convolution": lambda: with_part("pos_block.0.proj.0", nn.Conv2d(16, 16, 5, padding=2, groups=16)),
    "full convolution": lambda: with_part("pos_block.0.proj.0", nn.Conv2d(16, 16, 3, padding=1)),
    "longer encoding": lambda: with_part("pos_block.0.proj.1", nn.Tanh()),
    "hook in a block": lambda: with_hook("blocks.0.0.mlp.fc1"),
    "hook on a block": lambda: with_hook("blocks.0.0"),
    "hook on a stage norm": lambda: hooked_stage_norm(),
    "hook on the head": lambda: with_hook("head"),
    "hook on the last norm": lambda: with_hook("norm"),
    "hook on the network": lambda: with_hook(""),
    "hook before the network": lambda: with_pre_hook(""),
    "network of their own": lambda: randomised(Louder(num_classes=10, **SMALL["twins_svt_small"])),
    "forward of its own": with_forward_of_its_own,
    "windows of two sizes": lambda: with_windows_of_two_sizes(),
    "heads of two widths": lambda: with_heads_of_two_widths(),
}


def small_without_pooling() -> Any:
    model = small()
    model.reset_classifier(10, "")
    return model


def hooked_stage_norm() -> Any:
    model = small(features_only=True, stage_norms=True)
    model.norm_list[2].register_forward_hook(lambda _, inputs, output: output + 1)
    return model


def with_windows_of_two_sizes() -> Any:
    model = small()
    model.blocks[2][0].attn.window = 4
    return model


def with_heads_of_two_widths() -> Any:
    model = small()
    model.blocks[2][1].attn.heads = 2
    return model


@needs_engine
@pytest.mark.parametrize("kind", UNUSUAL)
def test_what_the_engine_cannot_take_pytorch_computes(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    model = UNUSUAL[kind]().eval()
    images = torch.randn(1, 3, 50, 61)
    expected = outputs_of(model, images)
    with caplog.at_level(logging.WARNING, "twins"):
        result = twins.freeze(model)
        twins.freeze(model)
    assert_close(outputs_of(result, images), expected)
    assert result.backend == "PyTorch, fp32"
    assert [record.levelname for record in caplog.records] == ["WARNING"]  # once
    assert caplog.messages[0].startswith("freeze: ")
    assert caplog.messages[0].endswith("; PyTorch computes the network, in float32")


@needs_engine
def test_a_head_put_in_place_of_the_first_is_packed() -> None:
    model, images = small(num_classes=1000), torch.randn(2, 3, 50, 61)
    model.head = nn.Linear(96, 7)
    result = twins.freeze(model)
    assert isinstance(result, Frozen)
    assert_close(outputs_of(result, images), outputs_of(model, images))
    model.head = nn.Linear(96, 7, bias=False)
    assert_close(outputs_of(twins.freeze(model), images), outputs_of(model, images))


@needs_engine
def test_parametrised_weights_are_packed_as_they_are_used() -> None:
    model = small()
    nn.utils.parametrizations.weight_norm(model.blocks[0][0].mlp.fc1)
    nn.utils.parametrizations.spectral_norm(model.blocks[1][0].attn.proj)
    images = torch.randn(1, 3, 50, 61)
    assert_close(outputs_of(twins.freeze(model), images), outputs_of(model, images))


@pytest.fixture
def another_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Where the engine is looked for; what was found before is forgotten, and again afterwards."""
    path = tmp_path / "_engine.so"
    monkeypatch.setattr(library, "PATH", path)
    caches = (library.missing, library.instruction_sets, library._library)
    for cached in caches:
        cached.cache_clear()
    yield path
    for cached in caches:
        cached.cache_clear()


def test_without_the_engine_pytorch_computes_and_says_so_once(
    another_library: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, images = small(), torch.randn(2, 3, 41, 52)
    result = twins.freeze(model)
    twins.freeze(small())
    assert result.backend == "PyTorch, fp32"
    assert len(caplog.messages) == 1
    assert "was not built, for want of a C++ compiler" in caplog.messages[0]
    assert torch.equal(result(images), outputs_of(model, images)[0])
    with pytest.raises(ValueError, match="takes float32"):
        result(images.double())
    with pytest.raises(twins.TwinsError, match="was not built"):
        matmul_speed("fp32", 1)


def test_an_engine_that_does_not_load_is_not_used(another_library: Path, caplog: pytest.LogCaptureFixture) -> None:
    another_library.write_bytes(b"no library")
    assert twins.freeze(small()).backend == "PyTorch, fp32"
    assert "cannot be loaded" in caplog.messages[0]

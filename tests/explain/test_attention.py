"""What is observed of LSA and GSA is what they compute; where it goes adds up."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import twins
from helpers.tiny import TINY
from twins.explain.block_attention import BlockAttention
from twins.explain.global_attention import GlobalAttention
from twins.explain.local_attention import LocalAttention
from twins.model import LocallyGroupedAttention, Stages

TWO_EACH = TINY | {"depths": (2, 2, 2, 2)}
SIZES = [(64, 64), (57, 91), (33, 130), (9, 40), (3, 5)]  # odd, thin, and shorter than a kernel
PADDINGS = ["mask", "zero", "mask-both"]


def network(name: str = "twins_svt_small", **settings: Any) -> twins.Twins:
    """Four stages of two blocks, LSA and GSA for SVT, with weights large enough that attention is not flat."""
    model = twins.create_model(name, num_classes=3, **TWO_EACH | settings).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    return model


def images(height: int, width: int) -> Tensor:
    return torch.randn(2, 3, height, width)


def calls(model: Stages, batch: Tensor) -> list[tuple[Any, Tensor, nn.Module, Tensor]]:
    """Every attention module with its two inputs and what the reference makes of them."""
    found: list[Any] = []
    hooks = [
        block.attn.register_forward_hook(lambda module, inputs, output: found.append((module, *inputs, output)))
        for stage in model.blocks
        for block in stage
    ]
    with torch.no_grad(), twins.ops.use("reference"):
        model(batch)
    for hook in hooks:
        hook.remove()
    return found


def attended(block: BlockAttention) -> Tensor:
    """Weights times values, as a (B, H, W, C) map."""
    mixed = block.weights() @ block.values
    if isinstance(block, LocalAttention):
        mixed = block.grid.join(mixed.movedim(4, 2)).flatten(1, 2)  # (B, heads, D, windows, T) -> (B, C, H, W)
        return mixed.movedim(1, 3)
    return mixed.transpose(1, 2).flatten(2).unflatten(1, block.size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("name", "padding"), [("twins_svt_small", p) for p in PADDINGS] + [("twins_pcpvt_small", "mask")]
)
def test_weights_times_values_are_the_reference_attention(name: str, padding: str, size: tuple[int, int]) -> None:
    model, batch = network(name, window_padding=padding), images(*size)
    expected = calls(model, batch)
    maps = twins.attention_maps(model, batch)
    assert [(block.stage, block.index) for block in maps.blocks] == [(s, i) for s in range(4) for i in range(2)]
    for block, (module, x_BHWC, _, output) in zip(maps.blocks, expected, strict=True):
        assert block.kind == ("LSA" if isinstance(module, LocallyGroupedAttention) else "GSA")
        assert block.size == x_BHWC.shape[1:3]
        with torch.no_grad():
            projected = module.proj(attended(block))
        scale = float(output.abs().max())
        torch.testing.assert_close(projected / scale, output / scale, atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("padding", PADDINGS)
def test_probabilities_add_up_to_one_over_real_keys_or_say_what_padding_gets(
    padding: str, size: tuple[int, int]
) -> None:
    maps = twins.attention_maps(network(window_padding=padding), images(*size))
    for block in maps.blocks:
        weights, (height, width) = block.weights(), block.size
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
        overhang = bool(height % 7), bool(width % 7)
        masked = padding == "mask" or (padding == "mask-both" and all(overhang))
        padded = block.kind == "LSA" and any(overhang) and not masked
        assert (block.padded_share().max() > 0.01) == padded
        for row, column in ((0, 0), (height - 1, width - 1)):
            on_map = block.of_token(row, column)
            assert on_map.shape == (2, block.heads, height, width)
            torch.testing.assert_close(on_map.sum((2, 3)), 1 - block.padded_share()[:, :, row, column])


@pytest.mark.parametrize("size", [(57, 91), (9, 40)])
@pytest.mark.parametrize("padding", ["mask", "zero"])
def test_propagating_and_mean_are_products_with_the_rows_of_single_tokens(padding: str, size: tuple[int, int]) -> None:
    maps = twins.attention_maps(network(window_padding=padding), images(*size))
    for block in maps.blocks:
        height, width = block.size
        rows = torch.stack([block.of_token(i, j) for i in range(height) for j in range(width)], dim=2)
        share = torch.rand(2, block.heads, height, width)
        product = torch.einsum("bhn,bhnyx->bhyx", share.flatten(2), rows)
        torch.testing.assert_close(block.propagate(share), product)
        torch.testing.assert_close(block.mean(), rows.mean(dim=2))


def test_a_token_attends_within_its_window_by_lsa_and_to_patches_by_gsa() -> None:
    maps = twins.attention_maps(network(), images(64, 96))
    lsa, gsa = maps.block(0, 0), maps.block(0, 1)
    on_map = lsa.of_token(8, 13)  # of the window of rows 7 to 13 and columns 7 to 13
    assert isinstance(lsa, LocalAttention)
    torch.testing.assert_close(on_map[:, :, 7:14, 7:14].flatten(2), lsa.weights()[:, :, 5, 1 * 7 + 6])
    assert on_map.count_nonzero() == 2 * lsa.heads * 49
    patches = gsa.of_token(8, 13)  # keys are of 8 x 8 tokens
    assert isinstance(gsa, GlobalAttention)
    assert gsa.key_size == (2, 3)
    token = 8 * 24 + 13
    torch.testing.assert_close(patches[:, :, 3::8, 5::8].flatten(2) * 64, gsa.weights()[:, :, token])
    assert torch.equal(patches[:, :, :8, 8:16], patches[:, :, :1, 8:9].expand(-1, -1, 8, 8))


def test_left_over_tokens_get_no_attention_from_gsa() -> None:
    gsa = twins.attention_maps(network("twins_pcpvt_small"), images(44, 64)).block(0)
    assert gsa.size == (11, 16)
    assert gsa.of_token(10, 3)[:, :, 8:].count_nonzero() == 0


def test_many_queries_are_propagated_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    gsa = twins.attention_maps(network(), images(64, 64)).block(0, 1)
    whole = gsa.mean()
    monkeypatch.setattr("twins.explain.global_attention.QUERIES_AT_ONCE", 100)
    torch.testing.assert_close(gsa.mean(), whole)


def token_matrix(block: BlockAttention) -> Tensor:
    """(B, N, N): the mean over the heads, row by row."""
    height, width = block.size
    rows = [block.of_token(i, j).mean(1).flatten(1) for i in range(height) for j in range(width)]
    return torch.stack(rows, dim=1)


def patch_matrix(block: BlockAttention, before: BlockAttention) -> Tensor:
    """(N, N before): each token is the mean of its 2 x 2 patch."""
    matrix = torch.zeros(*block.size, *before.size)
    for i in range(block.size[0]):
        for j in range(block.size[1]):
            matrix[i, j, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2] = 0.25
    return matrix.flatten(2).flatten(0, 1)


@pytest.mark.parametrize("name", ["twins_svt_small", "twins_pcpvt_small"])
def test_rollout_is_the_product_of_all_matrices(name: str) -> None:
    maps = twins.attention_maps(network(name), images(68, 100))
    product = torch.eye(17 * 25).expand(2, -1, -1)
    for before, block in zip((maps.blocks[0], *maps.blocks), maps.blocks, strict=False):
        if block.stage != before.stage:
            product = patch_matrix(block, before) @ product
        attention = token_matrix(block)
        product = (attention + torch.eye(attention.shape[1])) / 2 @ product
    torch.testing.assert_close(maps.rollout().flatten(1), product.mean(1))
    torch.testing.assert_close(maps.rollout(at=(1, 2)).flatten(1), product[:, 1 * 3 + 2])
    torch.testing.assert_close(maps.rollout().sum((1, 2)), torch.ones(2))


def test_what_goes_to_padding_is_lost_to_rollout() -> None:
    maps = twins.attention_maps(network(window_padding="zero"), images(64, 64))
    assert (maps.rollout().sum((1, 2)) < 0.99).all()


def test_tokens_of_pixels() -> None:
    block = twins.attention_maps(network(), images(69, 64)).block(-1)
    assert (block.name, block.stride, block.size) == ("blocks.3.1", 32, (2, 2))
    assert [block.token_at(*pixel) for pixel in ((0, 0), (31, 32), (68, 63))] == [(0, 0), (0, 1), (1, 1)]


def test_the_model_is_left_as_it_was() -> None:
    model, batch = network(drop_path_rate=0.5, drop_rate=0.5), images(64, 64)
    expected = twins.attention_maps(model, batch).rollout()
    model.train()
    model.norm.eval()
    model.set_grad_checkpointing()
    assert torch.equal(twins.attention_maps(model, batch).rollout(), expected)
    assert model.training
    assert not model.norm.training
    assert model.grad_checkpointing
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


def test_segmenters_detectors_and_backbones_have_maps_too() -> None:
    small = TINY | {"channels": 16}
    segmenter = twins.upernet("twins_svt_small", num_classes=3, **small)
    detector = twins.retinanet("twins_svt_small", num_classes=3, min_size=48, max_size=80, **small)
    backbone = twins.create_model("twins_pcpvt_small", features_only=True, out_indices=(0, 1), **TINY)
    assert twins.attention_maps(segmenter, images(40, 60)).block(0).size == (10, 15)
    of_batch = twins.attention_maps(detector, [torch.rand(3, 24, 30), torch.rand(3, 30, 24)])  # 48 x 60, 60 x 48
    assert of_batch.block(0).size == (16, 16)
    assert [block.name for block in twins.attention_maps(backbone, images(40, 60)).blocks] == [
        "blocks.0.0",
        "blocks.1.0",
    ]


def test_half_precision_is_observed_in_float32() -> None:
    maps = twins.attention_maps(network().bfloat16(), images(64, 64).bfloat16())
    assert {block.weights().dtype for block in maps.blocks} == {torch.float32}


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda maps: maps.block(4), "no block -1 in stage 4: the 4 stages have 2, 2, 2, 2 blocks, from 0"),
        (lambda maps: maps.block(0, 2), "no block 2 in stage 0: the 4 stages have 2, 2, 2, 2 blocks, from 0"),
        (lambda maps: maps.block(0).of_token(16, 0), "blocks.0.1: no token at row 16, column 0: its map has 16 x 16"),
        (lambda maps: maps.rollout(at=(0, 2)), "blocks.3.1: no token at row 0, column 2: its map has 2 x 2"),
    ],
)
def test_what_is_not_there_is_named(ask: Any, message: str) -> None:
    maps = twins.attention_maps(network(), images(64, 64))
    with pytest.raises(twins.TwinsError) as error:
        ask(maps)
    assert str(error.value) == message


def test_only_networks_of_ours_that_pytorch_computes_can_be_explained() -> None:
    with pytest.raises(
        twins.TwinsError, match="only a Twins network that PyTorch computes can be explained, not a Linear"
    ):
        twins.attention_maps(nn.Linear(3, 3), images(64, 64))

"""bf16 and int8 of the CPU engine: equal to the same rounding written plainly here, and close to fp32."""

from __future__ import annotations

import copy
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
    reference_outputs_of,
    relative_rms,
    small,
)
from helpers.grids import every_pair
from twins.model import GlobalSubsampledAttention, LocallyGroupedAttention
from twins.native import library
from twins.native.packing import query_scale

SEVEN_BITS = ("avx2", "avx512")  # whose instructions would overflow with rows of eight
TILED = ("amx", "amx_emulated")  # attention multiplies bfloat16 there, whatever linear layers multiply
pytestmark = [
    pytest.mark.usefixtures("nan_memory"),
    pytest.mark.skipif(library.missing() is not None, reason="the engine is not built"),
]


def most(instruction_set: str) -> int:
    """The largest byte of a row."""
    return 127 if instruction_set in SEVEN_BITS else 255


# Every instruction set takes the smallest of both families, and the fastest one all six: see the test of these.
SIX = [pytest.param(name, marks=[] if name in SMALL else [pytest.mark.slow]) for name in twins.list_models()]


# ---- the same rounding, written plainly


def in_bytes(x: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """Integers from 0 to `most` along the last axis, a step's size and the number of 0."""
    low, high = x.amin(-1, keepdim=True).clamp(max=0), x.amax(-1, keepdim=True).clamp(min=0)
    step = ((high - low) / most).clamp(min=1e-12)
    zero = (-low * (1 / step)).round()
    return (x * (1 / step) + zero).round().clamp(0, most), step, zero


def product_of_bytes(x: Tensor, weight_NK: Tensor, most: int) -> Tensor:
    """x W^T, x in bytes with a step and a zero a row, W in signed bytes with a step a column."""
    step_N = weight_NK.abs().amax(dim=1).clamp(min=1e-12) / 127
    whole_NK = (weight_NK / step_N[:, None]).round()
    rows, step, zero = in_bytes(x, most)
    whole = (rows.double() - zero.double()) @ whole_NK.double().t()  # exact
    return whole.to(x.dtype) * (step_N * step)


class ByteLinear(nn.Module):
    """A linear layer whose inputs and weights are bytes."""

    def __init__(self, linear: nn.Linear, most: int) -> None:
        super().__init__()
        self.linear, self.most = linear, most

    def forward(self, x: Tensor) -> Tensor:
        return product_of_bytes(x, self.linear.weight, self.most) + self.linear.bias


class ByteConv(nn.Module):
    """A convolution whose kernel equals its stride: patches are rows of bytes, or each line of them `by_lines`."""

    def __init__(self, conv: nn.Conv2d, most: int, by_lines: bool) -> None:
        super().__init__()
        self.conv, self.most, self.by_lines = conv, most, by_lines
        self.kernel_size = conv.kernel_size

    def forward(self, x_BCHW: Tensor) -> Tensor:
        k = self.kernel_size[0]
        down, across = (side // k for side in x_BCHW.shape[2:])
        patches = x_BCHW[:, :, : down * k, : across * k].unflatten(3, (across, k)).unflatten(2, (down, k))
        patches = patches.permute(0, 2, 4, 3, 1, 5)  # (B, down, across, line, channel, column)
        kernel = self.conv.weight.permute(0, 2, 1, 3)  # (out, line, channel, column)
        if self.by_lines:
            lines = zip(patches.unbind(3), kernel.unbind(1), strict=True)
            y = sum(product_of_bytes(p.flatten(3), line.flatten(1), self.most) for p, line in lines)
        else:
            y = product_of_bytes(patches.flatten(3), kernel.flatten(1), self.most)
        return (y + self.conv.bias).permute(0, 3, 1, 2)


def in_bytes_throughout(model: nn.Module, most: int) -> nn.Module:
    """A copy of the network that multiplies bytes, as the engine's int8 does."""
    model = copy.deepcopy(model)
    for path, layer in list(model.named_modules()):
        if isinstance(layer, nn.Linear):
            model.set_submodule(path, ByteLinear(layer, most))
        elif isinstance(layer, nn.Conv2d) and layer.groups == 1:
            model.set_submodule(path, ByteConv(layer, most, by_lines=path.endswith("attn.sr")))
    return model


@torch.no_grad()
def with_weights_in_bf16(model: nn.Module) -> nn.Module:
    """A copy whose products have bfloat16 weights; those of queries are rounded with the softmax's scale inside."""
    model = copy.deepcopy(model)
    for layer in model.modules():
        if isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1):
            if not getattr(layer, "is_query", False):
                layer.weight.copy_(layer.weight.bfloat16())
        elif isinstance(layer, LocallyGroupedAttention | GlobalSubsampledAttention):
            queries = layer.qkv if isinstance(layer, LocallyGroupedAttention) else layer.q
            scale = torch.ones(queries.out_features, 1)
            scale[: queries.in_features] = query_scale(queries.in_features // layer.heads)
            queries.weight.copy_((queries.weight * scale).bfloat16() / scale)
            queries.is_query = True
    return model


# ---- bf16


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("keywords", [{}, {"features_only": True, "stage_norms": True}], ids=["logits", "maps"])
def test_bf16_is_fp32_with_rounded_weights(instruction_set: str, name: str, keywords: dict[str, Any]) -> None:
    """Where no instruction multiplies bfloat16, and inputs need no rounding; elsewhere close to it."""
    model, images = small(name, **keywords), torch.randn(3, 3, 75, 93)
    expected = reference_outputs_of(with_weights_in_bf16(model), images)
    within = 0.03 if instruction_set in ("avx512_bf16", *TILED) else 1e-5
    assert_close(outputs_of(twins.freeze(model, "bf16"), images), expected, within)


@pytest.mark.parametrize("name", SIX)
def test_bf16_is_close_to_fp32(instruction_set: str, name: str) -> None:
    """A weight's rounding is 0.17 % of it in root mean square; many blocks add up to 0.4 to 0.7 %, as measured."""
    model, images = network(name, depths=(2, 2, 4, 2)), torch.randn(2, 3, 96, 96)
    assert relative_rms(outputs_of(twins.freeze(model, "bf16"), images), reference_outputs_of(model, images)) < 0.012


# ---- int8


def silenced(model: Any) -> Any:
    """Blocks that add nothing and positions that are not encoded: stages are their patch embeddings."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "attn.proj" in name or "mlp.fc2" in name or "pos_block" in name:
                parameter.zero_()
    return model


def test_int8_patch_embeddings_are_exact(instruction_set: str) -> None:
    for in_chans in (1, 3):
        model = silenced(small(in_chans=in_chans, features_only=True, out_indices=(0,)))
        images = torch.randn(2, in_chans, 50, 61)
        plain = reference_outputs_of(in_bytes_throughout(model, most(instruction_set)), images)
        assert_close(outputs_of(twins.freeze(model, "int8"), images), plain)


def test_int8_heads_are_exact(instruction_set: str) -> None:
    """The same network without its head says what the head reads."""
    model, images = small(num_classes=37), torch.randn(5, 3, 50, 61)
    head = ByteLinear(model.head, most(instruction_set))
    actual = outputs_of(twins.freeze(model, "int8"), images)
    model.reset_classifier(0)
    with torch.no_grad():
        assert_close(actual, [head(twins.freeze(model, "int8")(images))])


@every_pair(part=["0.attn.proj", "0.mlp.fc2", "1.attn.proj"], stage=[0, 1, 3], name=list(SMALL))
def test_int8_sublayers_are_exact_but_for_ties(instruction_set: str, part: str, stage: int, name: str) -> None:
    """One sublayer of a network speaks; in a whole one an input that sums of another order tip from one byte to the
    next changes a little everything after it, until two runs are as far apart as each is from fp32.

    A tie, an input between two bytes or a zero point between two, falls to either side by the last bit of a sum: the
    plain network in float32 and in float64 differ by as much (3e-3 in root mean square if one of 8 tokens has a tie).
    So every token is held to whichever of the two is nearer, and those that neither explains are counted.
    """
    model = small(name, depths=(2, 2, 2, 2), features_only=True, out_indices=(stage,), window_padding="zero")
    path = f"blocks.{stage}.{part}"
    loud = copy.deepcopy(model.get_submodule(path))
    silenced(model)
    model.set_submodule(path, loud)
    images = torch.randn(2, 3, 75, 93)
    in_bytes = in_bytes_throughout(model, most(instruction_set))
    (plain,) = reference_outputs_of(in_bytes, images)
    (in_double,) = reference_outputs_of(in_bytes.double(), images.double())
    (actual,) = outputs_of(twins.freeze(model, "int8"), images)
    apart = torch.minimum((actual - plain).abs().amax(1), (actual - in_double).abs().amax(1).float())
    if instruction_set in TILED:  # rounded queries, keys, values and weights besides
        assert relative_rms([actual], [plain]) < 6e-3
    else:
        ties = apart > 5e-6  # at most 1 of 198 and 5 of 828, as measured
        assert int(ties.sum()) <= max(1, 0.01 * ties.numel())
        assert float(apart.max()) < 0.05  # a byte more or less, times a weight


@pytest.mark.parametrize("name", SIX)
def test_int8_is_close_to_fp32(instruction_set: str, name: str) -> None:
    """Measured: 2.0 to 2.7 % with rows of 8 bits, 2.6 to 3.9 % with 7."""
    model, images = network(name, depths=(2, 2, 4, 2)), torch.randn(2, 3, 96, 96)
    bound = 0.06 if instruction_set in SEVEN_BITS else 0.04
    assert relative_rms(outputs_of(twins.freeze(model, "int8"), images), reference_outputs_of(model, images)) < bound


@pytest.mark.parametrize("extreme", [0.0, 1e-30, 1e6])
def test_int8_takes_rows_of_any_range(instruction_set: str, extreme: float) -> None:
    """Rows of zeros alone, or of one large value, neither divide by zero nor overflow."""
    model = small()
    images = torch.full((1, 3, 40, 40), extreme)
    expected = reference_outputs_of(in_bytes_throughout(model, most(instruction_set)), images)
    assert relative_rms(outputs_of(twins.freeze(model, "int8"), images), expected) < 0.03


def test_packed_weights_shrink_with_the_dtype() -> None:
    model = small()
    fp32, bf16, int8 = (twins.freeze(model, dtype).packed.numel() for dtype in ("fp32", "bf16", "int8"))
    assert fp32 > 1.6 * bf16
    assert bf16 > 1.4 * int8


@pytest.mark.parametrize("name", [name for name in twins.list_models() if name not in SMALL])
def test_the_larger_networks_are_close_to_fp32(name: str) -> None:
    """By the fastest instruction set; bounds as above."""
    model, images = network(name, depths=(2, 2, 4, 2)), torch.randn(2, 3, 96, 96)
    expected = reference_outputs_of(model, images)
    assert relative_rms(outputs_of(twins.freeze(model, "bf16"), images), expected) < 0.012
    assert relative_rms(outputs_of(twins.freeze(model, "int8"), images), expected) < 0.06


# ---- a trained network


@pytest.mark.slow
def test_trained_digits_keep_their_accuracy(
    instruction_set: str, digits: tuple[nn.Module, list[Tensor], list[Tensor]]
) -> None:
    """Top-1 over the 360 validation digits within half a point of fp32."""
    model, images, labels = digits

    def of(network: nn.Module) -> tuple[float, Tensor]:
        logits = torch.cat([outputs_of(network, batch)[0] for batch in images])
        return 100 * float((logits.argmax(dim=1) == torch.cat(labels)).float().mean()), logits

    top1, logits = of(model)
    assert top1 > 90
    for dtype, bound in (("fp32", 1e-5), ("bf16", 0.02), ("int8", 0.1)):
        frozen_top1, frozen_logits = of(twins.freeze(model, dtype))
        error = relative_rms([frozen_logits], [logits])
        print(
            f"{instruction_set} {dtype}: top-1 {frozen_top1:.2f} (model {top1:.2f}), logits {100 * error:.3f} % apart"
        )
        assert abs(frozen_top1 - top1) <= 0.5
        assert error < bound


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, list[Tensor], list[Tensor]]:
    """A classifier of the embedded digits after a quarter of its recipe; the validation digits in batches."""
    from twins.recipes import find_recipe
    from twins.training.loop import fit

    output = str(tmp_path_factory.mktemp("runs"))
    recipe = find_recipe("digits", "classify").replace(epochs=10, output=output, device="cpu", workers=0)
    return trained_digits(fit(recipe).folder / "checkpoint.pth")


def trained_digits(weights: Path) -> tuple[nn.Module, list[Tensor], list[Tensor]]:
    from twins.checkpoints.info import read_info
    from twins.checkpoints.load import load_whole
    from twins.data.loading import make_loader
    from twins.data.sampling import EvaluationSampler
    from twins.tasks import make_task
    from twins.training.evaluation import recipe_of_checkpoint

    info = read_info(weights)
    task = make_task(recipe_of_checkpoint(info, changes={"device": "cpu"}), info.classes)
    _, validation = task.datasets(evaluation_only=True)
    model = task.build()
    load_whole(model, info)
    loader = make_loader(validation, EvaluationSampler(len(validation), 0, 1), 60, 0, torch.device("cpu"))
    batches = list(loader)
    return model.eval(), [batch.images for batch in batches], [batch.labels for batch in batches]

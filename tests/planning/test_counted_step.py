"""Operators of a training step, counted without a GPU: what they compute, move and keep."""

from __future__ import annotations

import pytest

from twins.flops import count_flops
from twins.planning.assumptions import ROOFLINE_SHARES
from twins.planning.compute import roofline
from twins.planning.counted_step import can_be_counted, count_step
from twins.planning.hardware import GPUS
from twins.recipes import find_recipe
from twins.zoo import create_model

# Images a second that timm 0.6 trained on an RTX 3090 under autocast, with the batch: its public table
# results/benchmark-train-amp-nchw-pt112-cu113-rtx3090.csv.
TIMM_ON_RTX_3090 = {
    "twins_pcpvt_small": (714.45, 256),
    "twins_pcpvt_base": (466.47, 192),
    "twins_pcpvt_large": (322.96, 128),
    "twins_svt_small": (851.73, 384),
    "twins_svt_base": (411.80, 192),
    "twins_svt_large": (289.11, 128),
}


def test_forward_pass_is_what_flops_counts():
    """Of projections and attention, where a multiply-add is one; windows and keys that a map does not divide too."""
    recipe = find_recipe("twins_svt_small").replace(img_size=72)
    flops = count_flops(create_model("twins_svt_small"), 72)
    step = count_step(recipe, 1000, batch=2)
    assert sum(operator.flops for operator in step.forward) == 2 * 2 * (flops.projections + flops.attention)
    assert step.flops_per_image == 6 * (flops.projections + flops.attention)
    assert step.parameters == step.trained == 24_060_776


@pytest.mark.parametrize(("checkpointing", "megabytes"), [(False, 81.5), (True, 10.0)])
def test_what_waits_for_the_backward_pass(checkpointing: bool, megabytes: float):
    """As docs/networks.md measured it on real tensors in float32: 621.7 MiB for 8 images, and 76.1 MiB."""
    recipe = find_recipe("twins_svt_small").replace(amp=False, drop_path=0.0, grad_checkpointing=checkpointing)
    step = count_step(recipe, 1000, batch=8)
    assert step.kept / 8 / 1e6 == pytest.approx(megabytes, rel=0.01)


def test_mixed_precision_moves_and_keeps_less():
    narrow, wide = (count_step(find_recipe("twins_svt_small").replace(amp=amp), 1000, 4) for amp in (True, False))
    assert narrow.flops_per_image == wide.flops_per_image
    assert narrow.kept < 0.75 * wide.kept  # with the weights in half precision, which count little in a larger batch
    assert sum(o.bytes for o in narrow.operators) < 0.8 * sum(o.bytes for o in wide.operators)
    assert {o.precision for o in narrow.operators if o.flops} == {"half"}
    assert {o.precision for o in wide.operators} == {"single", "tf32"}


def test_frozen_stages_have_no_backward_pass():
    whole, head = (count_step(find_recipe("twins_svt_small").replace(freeze_stages=n), 10, 4) for n in (0, 4))
    assert head.parameters == whole.parameters == 24_060_776 - 990 * 513
    assert head.trained == 10 * 513 + 2 * 512  # and the final norm
    assert sum(o.flops for o in head.backward) < 0.01 * sum(o.flops for o in whole.backward)


def test_a_segmenter_with_its_auxiliary_head():
    """Published with 54.4 M parameters, of which 1.0 M are the unused classifier and norm of the backbone."""
    recipe = find_recipe("upernet_svt_small", "segment").replace(img_size=64)
    step = count_step(recipe, 150, batch=2)
    assert step.parameters / 1e6 == pytest.approx(54.4, abs=0.7)
    assert not can_be_counted(find_recipe("retinanet_svt_small_1x", "detect"))


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name == "twins_svt_small" else pytest.mark.slow) for name in TIMM_ON_RTX_3090],
)
def test_the_model_holds_where_somebody_measured(name: str):
    """timm's training lies in the range of shares that a plan takes."""
    speed, batch = TIMM_ON_RTX_3090[name]
    gpu, step = GPUS["rtx3090"], count_step(find_recipe(name), 1000, batch)
    least, most = (share * batch / roofline(step.operators, gpu).seconds for share in ROOFLINE_SHARES)
    assert least < speed < most

"""Figures of a plan, computed by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from twins.errors import TwinsError
from twins.planning.communication import all_reduce_bytes, all_reduce_seconds
from twins.planning.compute import (
    MEMORY,
    PRODUCTS,
    STARTING,
    roofline,
    time_as_measured,
    time_by_mfu,
    time_by_roofline,
    update_bytes,
)
from twins.planning.counted_step import CountedStep, Operator
from twins.planning.failures import losses_of
from twins.planning.hardware import GPUS, Gpu, find_gpu, gpu_called
from twins.planning.memory import memory_of, states_per_weight
from twins.planning.reading import DECODING_FILE, Decoding, cores_needed, decoding_of
from twins.recipes import find_recipe

SVT_SMALL = 24_060_776  # parameters
ROUND = Gpu("round", "Round", 10, 100, 50, 10, 1000, 100, "wire", 2.0, "nobody")  # 100, 50 and 10 TFLOP/s, 1 TB/s
STEP = CountedStep(
    batch=4,
    parameters=1_000_000,
    trained=500_000,
    forward=(Operator(200 * 10**9, 10**6, "half"), Operator(0, 10**9, "single")),  # 2 ms of products, 1 ms of memory
    backward=(
        Operator(10**9, 5 * 10**9, "half"),
        Operator(30 * 10**9, 10**6, "single"),
    ),  # 5 ms of memory, 3 ms of products
    kept=3 * 10**9,
)


def test_all_reduce_of_eight_gpus():
    """2 x 7/8 of 96.2 MB, over NVLink's 450 GB/s one way, of which 70 % are reached."""
    assert all_reduce_bytes(SVT_SMALL, 8) == pytest.approx(2 * 7 / 8 * 4 * 24_060_776) == pytest.approx(168_425_432)
    assert all_reduce_seconds(SVT_SMALL, 8, GPUS["h100"], network=400) == pytest.approx(0.534_684e-3, rel=1e-5)


def test_all_reduce_between_nodes_goes_through_the_network():
    """2 x 63/64 of 96.2 MB, over 400 Gbit/s, which are 50 GB/s; of a card the slower of its slot and the network."""
    assert all_reduce_seconds(SVT_SMALL, 64, GPUS["h100"], network=400) == pytest.approx(189_478_611 / 35e9, rel=1e-6)
    assert all_reduce_seconds(SVT_SMALL, 64, GPUS["l40s"], network=400) == pytest.approx(189_478_611 / 22.4e9, rel=1e-6)


def test_one_gpu_has_nothing_to_reduce():
    assert all_reduce_bytes(SVT_SMALL, 1) == 0


def test_roofline_takes_the_longer_of_products_and_memory():
    assert roofline(STEP.forward, ROUND) == pytest.approx((1e-3, 2e-3))
    assert roofline(STEP.backward, ROUND) == pytest.approx((5e-3, 3e-3))
    assert roofline([Operator(100 * 10**9, 1, "tf32")], ROUND) == pytest.approx((0, 2e-3))


def test_time_by_roofline():
    """3 + 8 ms, and an update of 500,000 weights that touches 10 floats of each: 0.02 ms; all at half the speed."""
    time = time_by_roofline(STEP, ROUND, share=0.5, starting=10e-6, clip=True, ema=False)
    assert update_bytes(STEP.trained, clip=True, ema=False) == 20_000_000
    assert time == pytest.approx((22.04e-3, 6e-3, 16e-3, MEMORY))


def test_small_steps_wait_for_the_host():
    """Four operators of 10 µs each, two of them in the forward pass."""
    tiny = STEP._replace(forward=(Operator(1, 1, "half"),) * 2, backward=(Operator(1, 1, "half"),) * 2, trained=0)
    assert time_by_roofline(tiny, ROUND, 0.5, 10e-6, clip=False, ema=False) == pytest.approx(
        (40e-6, 20e-6, 20e-6, STARTING)
    )


def test_time_by_mfu():
    """Three times the forward pass's 200 GFLOP, at a tenth of 100 TFLOP/s."""
    assert STEP.flops_per_image == 150e9
    assert time_by_mfu(STEP, ROUND, 0.1) == pytest.approx((0.06, 0.02, 0.04, PRODUCTS))


def test_time_as_measured():
    assert time_as_measured(64, 320.0).seconds == 0.2


def test_memory_of_weights_and_optimiser():
    memory = memory_of(STEP, "adamw", ema=True, gpus=8)
    assert memory.weights == pytest.approx(0.008)  # float32, twice
    assert (
        memory.gradients == memory.optimizer == pytest.approx(0.004)
    )  # half of the weights: twice for DDP, two moments
    assert (memory.activations, memory.working, memory.libraries) == (3.0, 5.0, 1.0)
    assert memory.total == pytest.approx(9.016)
    assert memory_of(STEP, "sgd", ema=False, gpus=1)[:3] == pytest.approx((0.004, 0.002, 0.002))


@pytest.mark.parametrize(("opt", "states"), [("AdamW", 2), ("sgd", 1), ("lion", 1), ("somebody's", 2)])
def test_numbers_that_an_optimiser_keeps(opt: str, states: int):
    assert states_per_weight(opt) == states


def test_cores_of_a_gpu():
    assert cores_needed(1000, Decoding(250.0, "")) == 4.0


def test_decoding_is_what_the_benchmark_measured():
    rows = json.loads(Path(__file__).parents[2].joinpath(DECODING_FILE).read_text())["rows"]
    measured = {
        row["contender"].split()[1]: row["images_per_second"]
        for row in rows
        if (row["network"], row["size"]) == ("training", "375x500") and row["contender"].startswith("twins")
    }
    for decoder in ("turbo", "pillow"):
        decoding = decoding_of(find_recipe("twins_svt_small").replace(decoder=decoder))
        assert decoding is not None
        assert decoding.images_per_core == pytest.approx(measured[decoder], abs=0.01)


@pytest.mark.parametrize(("name", "task"), [("digits", "classify"), ("upernet_svt_small", "segment")])
def test_reading_that_was_not_measured(name: str, task: str):
    assert decoding_of(find_recipe(name, task)) is None


def test_failures_and_checkpoints():
    """100 hours on 64 GPUs: 0.128 failures, each of which takes half of 10 minutes and 5 more; 600 + 10 checkpoints."""
    losses = losses_of(360_000, epochs=10, gpus=64, save_every=600, mtbf=50_000)
    assert losses == pytest.approx((610 * 0.5, 0.128, 0.128 * 600))


@pytest.mark.parametrize("name", ["H100", "nvidia-h100", " h100 ", "NVIDIA H100"])
def test_names_of_gpus(name: str):
    assert find_gpu(name) is GPUS["h100"]


@pytest.mark.parametrize(
    ("device", "name"),
    [("NVIDIA H100 80GB HBM3", "h100"), ("NVIDIA A100-SXM4-80GB", "a100"), ("NVIDIA GeForce RTX 3090", "rtx3090"),
     ("Tesla V100-SXM2-32GB", "v100"), ("NVIDIA L40S", "l40s"), ("NVIDIA L4", "l4")],
)  # fmt: skip
def test_gpus_as_pytorch_calls_them(device: str, name: str):
    assert gpu_called(device) is GPUS[name]


@pytest.mark.parametrize("device", ["cpu", "", "NVIDIA L40", "NVIDIA GeForce RTX 2080 Ti"])
def test_devices_that_are_not_in_the_table(device: str):
    assert gpu_called(device) is None


def test_unknown_gpus_are_refused_with_the_nearest():
    with pytest.raises(TwinsError, match=r"--gpu h10: not known \(did you mean h100"):
        find_gpu("h10")
    with pytest.raises(TwinsError, match="--gpu cpu is not offered"):
        find_gpu("CPU")

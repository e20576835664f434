"""Which instruction set computes in which dtype, and products by tiles at every shape, real and emulated."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

import twins
from helpers.frozen_networks import SMALL, assert_close, outputs_of, reference_outputs_of, relative_rms, small
from helpers.grids import every_pair
from twins.native import instruction_set, instruction_sets, library, matmul_speed, matmul_speeds, product_speed
from twins.native.packing import DTYPES, ROWS_OF_STEP, to_panels

pytestmark = [
    pytest.mark.usefixtures("nan_memory"),
    pytest.mark.skipif(library.missing() is not None, reason="the engine is not built"),
]
TILED = [name for name in ("amx_emulated", "amx") if not library.missing() and name in instruction_sets()]
WITHIN = {"bf16": 0.02, "int8": 0.06}  # relative rms; 0.3 to 1.2 % and 1 to 4 % as measured


@pytest.fixture(params=TILED)
def tiles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(library.ISA_VARIABLE, request.param)
    return str(request.param)


def assert_tiles_agree(model: Any, images: torch.Tensor, tiles: str) -> None:
    expected = reference_outputs_of(model, images)
    for dtype, within in WITHIN.items():
        frozen_model = twins.freeze(model, dtype)
        assert frozen_model.backend == f"native, {dtype}, {tiles}"
        assert relative_rms(outputs_of(frozen_model, images), expected) < within


# ---- the choice


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_fastest_is_chosen_and_never_the_emulation(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(library.ISA_VARIABLE, raising=False)
    assert instruction_sets()[0] == "amx_emulated"
    chosen = instruction_set(dtype)
    assert chosen == [name for name in instruction_sets() if library.computes(name, dtype)][-1]
    assert chosen != "amx_emulated"
    assert twins.freeze(small(), dtype).backend == f"native, {dtype}, {chosen}"


@pytest.mark.skipif(not library.CPUINFO.exists(), reason="the CPU is read from /proc")
def test_amx_is_found_where_the_cpu_has_it_and_the_system_allows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(library.ISA_VARIABLE, raising=False)
    flags = set(library.CPUINFO.read_text(encoding="utf-8").split())
    if {"amx_bf16", "amx_int8"} <= flags and library.refused() is None:
        assert [instruction_set(dtype) for dtype in DTYPES] == ["avx512", "amx", "amx"]
    else:
        assert "amx" not in instruction_sets()


REFUSING = """
import ctypes, logging, sys
class Stack(ctypes.Structure):
    _fields_ = [("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]
memory = ctypes.create_string_buffer(8192)  # tiles alone take as much
assert ctypes.CDLL(None).sigaltstack(ctypes.byref(Stack(ctypes.addressof(memory), 0, 8192)), None) == 0
logging.basicConfig(stream=sys.stdout)
import torch, twins
model = twins.create_model("twins_svt_small", depths=(1, 1, 1, 1))
print(twins.freeze(model, "bf16").backend, twins.freeze(model, "int8").backend)
"""


@pytest.mark.skipif("amx" not in TILED, reason="this CPU has no AMX")
def test_a_system_that_refuses_amx_is_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack for signals into which the state of tiles does not fit, as some runtimes set up."""
    monkeypatch.delenv(library.ISA_VARIABLE, raising=False)
    done = subprocess.run([sys.executable, "-c", REFUSING], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.count("does not let this process use AMX") == 2  # for each dtype what computes instead
    assert "avx512 computes the network" in done.stdout
    assert done.stdout.splitlines()[-1] == "native, bf16, avx512 native, int8, avx512_vnni"


@pytest.mark.parametrize(
    ("wanted", "computing"),
    [
        ("amx", ("avx512", "amx", "amx")),
        ("avx512_bf16", ("avx512", "avx512_bf16", "avx512_vnni")),
        ("avx512_vnni", ("avx512", "avx512", "avx512_vnni")),
        ("avx2", ("avx2", "avx2", "avx2")),
        ("amx_emulated", ("portable", "amx_emulated", "amx_emulated")),
    ],
)
def test_what_an_instruction_set_does_not_add_it_takes_from_the_one_it_extends(
    wanted: str, computing: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    if wanted not in instruction_sets():
        pytest.skip(f"this CPU does not run {wanted}")
    monkeypatch.setenv(library.ISA_VARIABLE, wanted)
    assert tuple(instruction_set(dtype) for dtype in DTYPES) == computing


# ---- tiles


@every_pair(
    name=list(SMALL),
    padding=["mask", "zero", "mask-both"],
    size=[(1, 1), (7, 7), (33, 57), (64, 223), (225, 300)],
)
def test_any_size_and_padding(tiles: str, name: str, padding: str, size: tuple[int, int]) -> None:
    assert_tiles_agree(small(name, window_padding=padding), torch.randn(2, 3, *size), tiles)


@pytest.mark.parametrize("width", [16, 32, 48, 64, 80, 96, 128])
def test_any_width_of_heads_and_depth_of_tiles(tiles: str, width: int) -> None:
    """Widths whose pairs or quads of channels fill no whole number of tiles make all tiles shorter."""
    model = small(embed_dims=(width, 2 * width, width, width), num_heads=(1, 2, 1, 1), mlp_ratios=(1, 2, 3, 1))
    assert_tiles_agree(model, torch.randn(2, 3, 61, 50), tiles)


@pytest.mark.parametrize("keys", [15, 16, 17, 32, 33, 127, 128, 129, 144, 160, 257, 400])
def test_any_number_of_keys(tiles: str, keys: int) -> None:
    ratios = {"sr_ratios": (1, 1, 1, 1), "depths": (1, 1, 1, 1)}
    assert_tiles_agree(small("twins_pcpvt_small", **ratios), torch.randn(2, 3, 4, 4 * keys + 1), tiles)


@pytest.mark.parametrize("window", range(1, 10))
def test_any_window(tiles: str, window: int) -> None:
    model = small(window_size=window, window_padding="zero", depths=(1, 1, 1, 1))
    assert_tiles_agree(model, torch.randn(2, 3, 57, 33), tiles)


@pytest.mark.usefixtures("more_threads_than_cpus")
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("batch", [1, 3, 16])
def test_any_batch_on_any_number_of_threads(tiles: str, batch: int, threads: int) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        assert_tiles_agree(small(in_chans=1, num_classes=37), torch.randn(batch, 1, 64, 93), tiles)
    finally:
        torch.set_num_threads(before)


def test_scores_far_apart(tiles: str) -> None:
    """Weights of 0 and 1 alone, exponentials far below the smallest float, and key blocks whose largest score grows."""
    model = small("twins_pcpvt_small", sr_ratios=(1, 1, 1, 1), depths=(1, 1, 1, 1))
    with torch.no_grad():
        for block in (block for stage in model.blocks for block in stage):
            block.attn.q.weight.mul_(30)
    images = torch.randn(1, 3, 40, 120)
    actual = outputs_of(twins.freeze(model, "bf16"), images)[0]
    # which key wins a close race, rounding may decide: far off is what must not be
    assert relative_rms([actual], reference_outputs_of(model, images)) < 0.3
    assert actual.isfinite().all()


@pytest.mark.skipif("amx" not in TILED, reason="this CPU has no AMX")
@pytest.mark.parametrize("dtype", WITHIN)
@pytest.mark.parametrize("name", SMALL)
def test_the_emulation_agrees_with_the_cpu(name: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same code around other tiles: sums in another order, which tip a few roundings."""
    model, images = small(name), torch.randn(2, 3, 75, 93)
    outputs = {}
    for isa in TILED:
        monkeypatch.setenv(library.ISA_VARIABLE, isa)
        outputs[isa] = outputs_of(twins.freeze(model, dtype), images)
    assert relative_rms(outputs["amx"], outputs["amx_emulated"]) < {"bf16": 0.01, "int8": 0.03}[dtype]


@pytest.mark.skipif("amx" not in TILED, reason="this CPU has no AMX")
def test_tiles_are_shared_with_other_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's own products configure tiles for themselves, between ours and side by side with them."""
    monkeypatch.setenv(library.ISA_VARIABLE, "amx")
    model, images = small(), torch.randn(2, 3, 64, 64)
    frozen_model, a = twins.freeze(model, "bf16"), torch.randn(130, 70).bfloat16()
    ours, theirs = frozen_model(images), a @ a.t()
    for _ in range(20):
        assert torch.equal(a @ a.t(), theirs)
        assert_close([frozen_model(images)], [ours], 0.0)


# ---- the upper bound of every network


def test_products_are_counted_by_the_rows_that_are_multiplied(instruction_set: str) -> None:
    weight = torch.ones(64, 48)
    panels, columns = to_panels(weight, ROWS_OF_STEP["fp32"]), torch.zeros(64)
    flops, seconds = library.time_product(instruction_set, "fp32", panels, columns, 48, threads=2)
    windows = 1 if library.instruction_set("fp32") in ("portable", "avx2") else 2  # the largest, that it has room for
    rows = windows * library.most_tokens_of_window()
    assert flops == 2 * rows * 48 * 64 * 20 * 2  # inputs, outputs, repeats, threads
    assert seconds > 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_instruction_set_of_a_dtype_is_measured(dtype: str) -> None:
    speeds = matmul_speeds(dtype, threads=1, seconds=0.005)
    own = {name for name in instruction_sets() if library.computes(name, dtype)} - {"amx_emulated"}
    assert {name.removesuffix(" in registers") for name in speeds} == own


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_upper_bound_is_the_fastest_in_gflops(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Products are not timed here: each takes a quarter of a second, of more FLOPs the later its name is listed."""
    names = [name for name in instruction_sets() if library.computes(name, dtype) and name != "amx_emulated"]
    monkeypatch.setattr(
        library,
        "time_product",
        lambda name, dtype, panels, columns, inputs, threads: ((names.index(name) + 1) * 1e9 * threads, 0.25),
    )
    monkeypatch.setattr(library, "time_peak", lambda *_, **__: (0.0, 0.0))
    product_speed._fastest.cache_clear()
    expected = {name: pytest.approx(4.0 * (i + 1) * 3) for i, name in enumerate(names)}
    assert matmul_speeds(dtype, threads=3, seconds=1.0) == expected
    assert matmul_speed(dtype, threads=3, seconds=1.0) == expected[names[-1]]
    product_speed._fastest.cache_clear()


def test_the_upper_bound_needs_a_known_dtype() -> None:
    with pytest.raises(twins.TwinsError, match="dtype must be one of"):
        matmul_speed("fp64", 1)

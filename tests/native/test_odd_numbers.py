"""NaN, infinity and denormal numbers in images: the same outcome in every dtype and instruction set."""

from __future__ import annotations

import math

import pytest
import torch

import twins
from helpers.frozen_networks import outputs_of, reference_outputs_of, small
from twins.native import library
from twins.native.packing import DTYPES

pytestmark = pytest.mark.skipif(library.missing() is not None, reason="the engine is not built")

COMPUTED = [
    (dtype, name)
    for dtype in DTYPES
    for name in (library.instruction_sets() if library.missing() is None else ())
    if library.computes(name, dtype)
]


@pytest.fixture(params=COMPUTED, ids="-".join)
def dtype(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A dtype, computed by each instruction set that this CPU has."""
    dtype, name = request.param
    monkeypatch.setenv(library.ISA_VARIABLE, name)
    return str(dtype)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_seen_in_the_outputs(dtype: str, value: float) -> None:
    for name in ("twins_svt_small", "twins_pcpvt_small"):
        model = small(name)
        for position in ((0, 0, 0, 0), (0, 1, 30, 31), (0, 2, 63, 63)):
            images = torch.randn(2, 3, 64, 64)
            images[position] = value
            (logits,) = outputs_of(twins.freeze(model, dtype), images)
            assert reference_outputs_of(model, images)[0].isnan().all(1).tolist() == [True, False]
            assert logits.isnan().all(1).tolist() == [True, False]
            assert logits[1].isfinite().all()


def test_maps_are_not_finite_where_the_models_are(dtype: str) -> None:
    model = small("twins_svt_small", features_only=True, window_padding="mask")
    images = torch.randn(1, 3, 96, 96)
    images[0, 0, 5, 90] = math.nan
    for ours, theirs in zip(
        outputs_of(twins.freeze(model, dtype), images), reference_outputs_of(model, images), strict=True
    ):
        assert bool(theirs.isnan().any())
        assert torch.equal(ours.isnan(), theirs.isnan())


def test_denormal_pixels_are_zero(dtype: str) -> None:
    """And the caller's own arithmetic still has denormals afterwards, in whichever thread it runs."""
    frozen = twins.freeze(small(), dtype)
    images = torch.randn(2, 3, 64, 64).sign() * 1e-40
    assert bool((images != 0).all())
    before = torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            assert torch.equal(outputs_of(frozen, images)[0], outputs_of(frozen, torch.zeros_like(images))[0])
        finally:
            torch.set_num_threads(before)
    assert float(torch.tensor(1e-30) * torch.tensor(1e-10)) == pytest.approx(1e-40, rel=1e-4)


def test_denormals_alone_tell_the_outputs_from_the_models() -> None:
    model, images = small(), torch.randn(2, 3, 64, 64)
    images[:, :, ::2] *= 1e-39
    (ours,), (theirs,) = outputs_of(twins.freeze(model), images), reference_outputs_of(model, images)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)

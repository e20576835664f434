"""CUDA graphs: what can be checked without a GPU, and the rest marked `gpu`."""

from __future__ import annotations

import logging

import pytest
import torch

import twins

SMALL = {"embed_dims": (32, 32, 64, 64), "num_heads": (1, 1, 2, 2), "depths": (1, 1, 1, 1), "num_classes": 5}


def network(**settings: object) -> torch.nn.Module:
    return twins.create_model("twins_svt_small", **SMALL, **settings).eval()


def test_images_on_a_cpu_go_through_the_model_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    model, images = network(), torch.randn(2, 3, 32, 32)
    fast = twins.graphed(model)
    with caplog.at_level(logging.WARNING, "twins"), torch.no_grad():  # training may round the last bit otherwise
        assert torch.equal(fast(images), model(images))
        assert not fast(images).requires_grad
    assert [record.message for record in caplog.records] == [
        "CUDA graphs: images on a CPU, which has none; the model runs as it is"
    ]


def test_mistakes_are_named() -> None:
    with pytest.raises(twins.TwinsError, match="max_shapes must be 1 or more, not 0"):
        twins.graphed(network(), max_shapes=0)
    with pytest.raises(twins.TwinsError, match=r"call eval\(\) on the model first"):
        twins.graphed(network().train())(torch.randn(1, 3, 32, 32))


def test_weights_are_the_models_own() -> None:
    model = network()
    assert twins.graphed(model).model is model


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("features_only", [False, True])
def test_a_recording_gives_the_outputs_of_the_model(features_only: bool) -> None:
    settings = {key: value for key, value in SMALL.items() if key != "num_classes"}
    model = twins.create_model("twins_svt_small", features_only=features_only, **settings).eval().cuda()
    fast = twins.graphed(model, max_shapes=2)
    earlier = []
    for side in (32, 64, 96, 32):  # the third forgets the first
        images = torch.randn(1, 3, side, side, device="cuda")
        with torch.no_grad():
            expected, found = model(images), fast(images)
        torch.testing.assert_close(found, expected)
        earlier.append((found, expected))
    torch.testing.assert_close(*map(list, zip(*earlier, strict=True)))  # replays did not overwrite earlier outputs
    with torch.no_grad():
        next(model.parameters()).mul_(2)
        torch.testing.assert_close(fast(images), model(images))

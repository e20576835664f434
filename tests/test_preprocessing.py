"""Bytes become floats by one contract, bit for bit as in the published pipelines, and come back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.transforms import functional as v1
from torchvision.transforms.v2 import functional as v2

from twins.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ClassifyPreprocessing,
    DetectPreprocessing,
    Preprocessing,
    SegmentPreprocessing,
)

KINDS = (ClassifyPreprocessing, SegmentPreprocessing, DetectPreprocessing)


def all_bytes(channels: int = 3) -> Tensor:
    """(channels, 16, 16): each channel holds every value once."""
    return torch.arange(256, dtype=torch.uint8).roll(7).view(1, 16, 16).repeat(channels, 1, 1)


def test_every_byte_value_becomes_the_float_of_the_published_pipeline() -> None:
    pixels = all_bytes()
    divided, scaled = pixels.float() / 255, v2.to_dtype(pixels, torch.float32, scale=True)
    assert (divided != scaled).sum() == 3 * 126
    assert torch.equal(ClassifyPreprocessing().to_float(pixels), divided)
    assert torch.equal(DetectPreprocessing().to_float(pixels), divided)
    assert torch.equal(SegmentPreprocessing().to_float(pixels), scaled)
    assert torch.equal(pixels, all_bytes())  # left as they were


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [1, 3])
def test_normalising_is_torchvisions_to_the_last_bit(kind: type[Any], channels: int) -> None:
    preprocessing = kind(mean=IMAGENET_MEAN[:channels], std=IMAGENET_STD[:channels])
    pixels = all_bytes(channels)
    expected = v1.normalize(preprocessing.to_float(pixels), preprocessing.mean, preprocessing.std)
    assert torch.equal(preprocessing.normalise(pixels), expected)
    by_rows = pixels.permute(1, 2, 0).contiguous().permute(2, 0, 1)  # as PIL's bytes lie
    assert torch.equal(preprocessing.normalise(by_rows), expected)
    assert preprocessing.normalise(by_rows).is_contiguous()
    back = preprocessing.denormalise(torch.stack([expected, 100 * expected]))
    torch.testing.assert_close(back[0], pixels / 255, rtol=0, atol=1e-6)
    assert (back[1].min(), back[1].max()) == (0, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_checkpoint_stores_is_read_back(kind: type[Preprocessing]) -> None:
    stored = kind().to_dict()
    assert (stored["mean"], stored["std"]) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    lists = {name: list(value) if isinstance(value, tuple) else value for name, value in stored.items()}
    assert kind.from_dict(stored) == kind.from_dict(lists) == kind()

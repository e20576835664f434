"""Which images an exported network takes."""

from __future__ import annotations

import pytest
import torch

import twins
from twins.errors import TwinsError
from twins.export.shape import Shape, shape_of, smallest_side


@pytest.mark.parametrize(
    ("name", "settings", "side"),
    [
        ("twins_svt_small", {}, 32),
        ("twins_pcpvt_small", {}, 32),
        ("twins_svt_small", {"sr_ratios": (16, 4, 2, 1)}, 64),  # 16 keys' cells of 4 pixels
        ("twins_svt_small", {"depths": (1, 1, 1, 1)}, 32),  # no sub-sampling: the last patch embedding decides
        ("twins_svt_small", {"features_only": True, "out_indices": (0, 1), "depths": (1, 1, 1, 1)}, 8),
    ],
)
def test_the_smallest_side_is_the_longest_kernel_in_pixels(name: str, settings: dict, side: int) -> None:
    with torch.device("meta"):
        assert smallest_side(twins.create_model(name, **settings)) == side


def test_a_shape_is_of_one_size_or_of_any() -> None:
    assert shape_of(None, 224) == Shape(None, (224, 224))
    assert shape_of(2, (480, 640)) == Shape(2, (480, 640))
    assert shape_of(None, None).example(3, least=32) == (2, 3, 256, 288)
    assert set(shape_of(None, None).dynamic(32)) == {0, 2, 3}
    assert set(shape_of(None, 224).dynamic(32)) == {0}
    assert shape_of(1, 224).dynamic(32) == {}


@pytest.mark.parametrize(("batch", "size"), [(0, 224), (1, 0), (1, (1, 2, 3)), (1, 99999)])
def test_other_shapes_are_refused(batch: int, size: int) -> None:
    with pytest.raises(TwinsError, match="--batch must be 1 or more|--img-size takes one side or height and width"):
        shape_of(batch, size)

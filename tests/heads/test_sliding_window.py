"""Probabilities from several views, and logits from overlapping windows, against loops over every pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from twins.errors import TwinsError
from twins.heads.sliding_window import class_probabilities, slide_logits


class Position(nn.Module):
    """Says of each pixel where in its window it lies, and what the window's mean is: no two windows agree."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(tuple(images.shape))
        rows, columns = (x.float() for x in torch.meshgrid(*map(torch.arange, images.shape[-2:]), indexing="ij"))
        mean = images.mean(dim=(1, 2, 3), keepdim=True)[:, 0]
        return torch.stack([rows + mean, columns - mean, (rows * columns).expand(len(images), -1, -1)], dim=1)


def pointwise() -> nn.Module:
    torch.manual_seed(0)
    return nn.Conv2d(3, 4, 1).requires_grad_(False)


def looking_around() -> nn.Module:
    torch.manual_seed(0)
    return nn.Conv2d(3, 4, 5, padding=2).requires_grad_(False)


def plain_starts(length: int, window: int, stride: int) -> list[int]:
    starts = [0]
    while starts[-1] + window < length:
        starts.append(min(starts[-1] + stride, length - window))
    return starts


def plain_slide(model: nn.Module, image: Tensor, window: int, stride: int) -> Tensor:
    """One pixel at a time: the mean of what all windows that cover it say."""
    height, width = image.shape[1:]
    corners = [(t, c) for t in plain_starts(height, window, stride) for c in plain_starts(width, window, stride)]
    outputs = {(t, c): model(image[None, :, t : t + window, c : c + window])[0] for t, c in corners}
    out = torch.empty(len(outputs[0, 0]), height, width)
    for y, x in np.ndindex(height, width):
        over = [outputs[t, c][:, y - t, x - c] for t, c in corners if 0 <= y - t < window and 0 <= x - c < window]
        out[:, y, x] = torch.stack(over).mean(dim=0)
    return out


@pytest.mark.parametrize("size", [(12, 12), (13, 7), (20, 11), (5, 23), (13, 17), (1, 9), (1, 1)])
@pytest.mark.parametrize(("window", "stride"), [(12, 8), (8, 8), (7, 1), (5, 3), (1, 1)])
def test_windows_average_pixel_by_pixel(size: tuple[int, int], window: int, stride: int) -> None:
    image = torch.randn(3, *size)
    model = Position()
    torch.testing.assert_close(slide_logits(model, image, window, stride), plain_slide(model, image, window, stride))


def test_by_hand() -> None:
    """Windows at 0, 1 and 2 of a line of four: the second pixel is second in one window and first in the next."""
    logits = slide_logits(Position(), torch.zeros(3, 1, 4), window=2, stride=1)
    assert logits[1].tolist() == [[0.0, 0.5, 0.5, 1.0]]
    assert slide_logits(Position(), torch.zeros(3, 1, 4), window=2, stride=2)[1].tolist() == [[0.0, 1.0, 0.0, 1.0]]
    # The last window is shifted back from 4 to 2, so the pixels at 2 and 3 have two outputs.
    assert slide_logits(Position(), torch.zeros(3, 1, 5), window=3, stride=3)[1].tolist() == [[0.0, 1.0, 1.0, 1.0, 2.0]]


@settings(max_examples=30)
@given(data=st.data(), height=st.integers(1, 40), width=st.integers(1, 40), window=st.integers(1, 44))
def test_every_pixel_is_covered(data: Any, height: int, width: int, window: int) -> None:
    stride = data.draw(st.none() | st.integers(max(1, window // 2), window))
    model, image = pointwise(), torch.randn(3, height, width)
    torch.testing.assert_close(slide_logits(model, image, window, stride), model(image[None])[0])


@pytest.mark.parametrize("window", [31, 32, 500])
def test_window_as_large_as_the_image_is_the_whole(window: int) -> None:
    model, image = looking_around(), torch.randn(3, 17, 31)
    assert torch.equal(slide_logits(model, image, window), model(image[None])[0])
    whole, slid = (class_probabilities(model, [image], (40, 50), slide=slide) for slide in (None, window))
    assert torch.equal(slid, whole)


def test_windows_come_in_batches_and_are_cut_to_the_image() -> None:
    model = Position()
    slide_logits(model, torch.randn(3, 6, 90), window=12)
    # Two thirds of 12 apart: at 0, 8, .. 72, and the last at 78; six rows are all there is.
    assert model.seen == [(8, 3, 6, 12), (3, 3, 6, 12)]


@pytest.mark.parametrize("stride", [0, -3, 9])
def test_stride_that_leaves_gaps(stride: int) -> None:
    message = f"--slide-stride must be between 1 and --slide, 8, to leave no gaps; not {stride}"
    with pytest.raises(TwinsError) as error:
        slide_logits(pointwise(), torch.randn(3, 20, 20), 8, stride)
    assert str(error.value) == message
    with pytest.raises(TwinsError):
        class_probabilities(pointwise(), [torch.randn(3, 20, 20)], (20, 20), slide=8, stride=stride)


def plain_probabilities(
    model: nn.Module, views: list[Tensor], size: tuple[int, int], slide: int | None, stride: int, flip: bool
) -> Tensor:
    votes = []
    for view in views:
        for mirrored in (False, True) if flip else (False,):
            image = torch.from_numpy(view.numpy()[..., ::-1].copy()) if mirrored else view
            logits = model(image[None])[0] if slide is None else plain_slide(model, image, slide, stride)
            vote = F.interpolate(logits[None], size, mode="bilinear", align_corners=False)[0].exp()
            vote = (vote / vote.sum(dim=0)).numpy()
            votes.append(vote[..., ::-1] if mirrored else vote)
    return torch.from_numpy(np.mean(votes, axis=0))


WINDOWS, VIEWS = [(None, 1), (9, 6), (40, 40)], [[(13, 21)], [(7, 11), (13, 21), (20, 23)], [(16, 16), (20, 20)]]


# Each pair of two of the three.
@pytest.mark.parametrize(
    ("sizes", "slide", "stride", "flip"),
    [(sizes, *window, (i + j) % 2 == 0) for i, sizes in enumerate(VIEWS) for j, window in enumerate(WINDOWS)],
)
def test_probabilities_are_the_mean_over_views(
    sizes: list[tuple[int, int]], slide: int | None, stride: int, flip: bool
) -> None:
    views, model = [torch.randn(3, *size) for size in sizes], looking_around()
    before = [view.clone() for view in views]
    probabilities = class_probabilities(model, views, (13, 21), slide, stride, flip)
    assert probabilities.shape == (4, 13, 21)
    torch.testing.assert_close(probabilities, plain_probabilities(model, views, (13, 21), slide, stride, flip))
    torch.testing.assert_close(probabilities.sum(dim=0), torch.ones(13, 21))
    assert all(map(torch.equal, views, before))


def test_flipped_image_gives_mirrored_probabilities() -> None:
    model, view = looking_around(), torch.randn(3, 14, 20)
    probabilities, mirrored = (class_probabilities(model, [v], (14, 20), flip=True) for v in (view, view.flip(-1)))
    torch.testing.assert_close(mirrored, probabilities.flip(-1))
    assert not torch.allclose(probabilities, class_probabilities(model, [view], (14, 20)), atol=0.01)


@pytest.mark.parametrize("slide", [None, 8])
def test_probabilities_are_exact_under_autocast(slide: int | None) -> None:
    model, view = looking_around(), torch.randn(3, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        probabilities = class_probabilities(model, [view], (30, 30), slide=slide, flip=True)
    assert probabilities.dtype == torch.float32
    torch.testing.assert_close(probabilities.sum(dim=0), torch.ones(30, 30))
    torch.testing.assert_close(
        probabilities, class_probabilities(model, [view], (30, 30), slide=slide, flip=True), atol=0.02, rtol=0
    )


def test_no_gradients_are_kept() -> None:
    model = nn.Conv2d(3, 4, 1)
    assert not class_probabilities(model, [torch.randn(3, 8, 8)], (8, 8)).requires_grad
    assert not slide_logits(model, torch.randn(3, 8, 8), 4).requires_grad

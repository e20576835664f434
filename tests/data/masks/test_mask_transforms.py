"""What a segmenter sees of images and masks: sizes, alignment, and each distortion beside a plain implementation."""

from __future__ import annotations

import colorsys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from twins.data.masks import transforms as mask_transforms
from twins.data.masks.transforms import (
    IGNORED,
    add_brightness,
    crop_error,
    mask_eval_transform,
    mask_train_transform,
    photometric_distortion,
    scale_contrast,
    scale_saturation,
)
from twins.data.randomness import keyed_randomness
from twins.errors import TwinsError
from twins.preprocessing import SegmentPreprocessing, fitted_size
from twins.recipes import SegmentRecipe

# Images reach the network as their grey levels, so that they can be compared with masks.
LEVELS = {1: {"mean": (0.0,), "std": (1 / 255,)}, 3: {"mean": (0.0,) * 3, "std": (1 / 255,) * 3}}


def plain(channels: int = 1, **changes: Any) -> SegmentRecipe:
    """Nothing by chance but where a crop lies."""
    still = {"scale": (1.0, 1.0), "cat_max_ratio": 1.0, "hflip": 0.0, "photometric": False}
    return SegmentRecipe(**{"img_size": 16, "in_chans": channels, **LEVELS[channels], **still, **changes})


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    pixels = np.random.default_rng(height + width).integers(0, 256, (height, width, channels)).astype(np.uint8)
    return pixels[..., 0] if channels == 1 else pixels


def labelled(labels: np.ndarray) -> tuple[Image.Image, Tensor]:
    """A grey image that shows its own mask."""
    return Image.fromarray(labels.astype(np.uint8)), torch.from_numpy(labels.astype(np.uint8))


def columns(height: int, of: Sequence[int]) -> np.ndarray:
    return np.tile(np.array(of), (height, 1))


def views(recipe: SegmentRecipe, image: Image.Image, mask: Tensor, count: int) -> list[tuple[Tensor, Tensor]]:
    transform = mask_train_transform(recipe)
    drawn = []
    for repeat in range(count):
        with keyed_randomness("sample", repeat):
            drawn.append(transform(image, mask))
    return drawn


@given(
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    channels=st.sampled_from([1, 3]),
    photometric=st.booleans(),
    cat_max_ratio=st.sampled_from([0.5, 1.0]),
)
def test_every_size_of_image_fills_the_crop(
    size: tuple[int, int], channels: int, photometric: bool, cat_max_ratio: float
) -> None:
    recipe = plain(channels, scale=(0.5, 2.0), photometric=photometric, cat_max_ratio=cat_max_ratio, vflip=0.5)
    mask = torch.from_numpy(noise(*size, 1) % 3)
    pixels, labels = mask_train_transform(recipe)(Image.fromarray(noise(*size, channels)), mask)
    assert (pixels.shape, pixels.dtype) == ((channels, 16, 16), torch.float32)
    assert (labels.shape, labels.dtype) == ((16, 16), torch.int64)
    assert 0 <= pixels.min() <= pixels.max() <= 255.01
    assert set(labels.unique().tolist()) <= {0, 1, 2, IGNORED}
    assert (pixels[:, labels == IGNORED] == 0).all()


@pytest.mark.parametrize("size", [(200, 200), (90, 211), (300, 64)])
@pytest.mark.parametrize("flips", [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (0.5, 0.5)])
def test_image_and_mask_stay_together(size: tuple[int, int], flips: tuple[float, float]) -> None:
    rows, cols = np.indices(size) // 20
    image, mask = labelled((7 * rows + 31 * cols) % 250)
    recipe = plain(img_size=96, scale=(0.7, 1.6), hflip=flips[0], vflip=flips[1], cat_max_ratio=0.5)
    for pixels, labels in views(recipe, image, mask, 12):
        inside = interior(labels)
        assert inside.sum() > 0.3 * (labels != IGNORED).sum()
        torch.testing.assert_close(pixels[0][inside], labels[inside].float(), atol=0.01, rtol=0)


def interior(labels: Tensor) -> Tensor:
    """Where all pixels around have one label: elsewhere bilinear ones lie between two, and nearest ones beside."""
    framed = torch.nn.functional.pad(labels, (2, 2, 2, 2), value=-1)
    around = framed.unfold(0, 5, 1).unfold(1, 5, 1)
    return (around == labels[..., None, None]).all(-1).all(-1) & (labels != IGNORED)


def test_image_is_resized_to_fit_times_a_uniform_factor() -> None:
    image, mask = labelled(np.full((20, 40), 9))
    recipe = plain(img_size=200, resize=(100, 50), scale=(0.5, 2.0))
    factors = []
    for pixels, labels in views(recipe, image, mask, 300):
        height, width = (labels[:, 0] == 9).sum().item(), (labels[0] == 9).sum().item()
        assert abs(width - 2 * height) <= 2
        assert (labels == 9).sum() == height * width
        assert ((pixels[0] == 0) == (labels == IGNORED)).all()
        factors.append(width / 100)
    assert 0.5 <= min(factors) < 0.53
    assert 1.97 < max(factors) <= 2.0
    assert np.histogram(factors, bins=3, range=(0.5, 2.0))[0].min() > 75


def test_what_is_filled_up_is_0_once_normalised() -> None:
    mean, std = (0.4, 0.5, 0.6), (0.1, 0.2, 0.3)
    recipe = plain(3, img_size=8, resize=(5, 3), mean=mean, std=std)
    pixels, labels = mask_train_transform(recipe)(Image.new("RGB", (5, 3)), torch.zeros(3, 5, dtype=torch.uint8))
    black = -torch.tensor(mean) / torch.tensor(std)
    torch.testing.assert_close(pixels[:, :3, :5], black[:, None, None].expand(3, 3, 5))
    assert pixels[:, 3:].eq(0).all()
    assert pixels[:, :, 5:].eq(0).all()
    assert labels[:3, :5].eq(0).all()
    assert labels.eq(IGNORED).sum() == 64 - 15


def test_masks_are_sampled_as_opencv_does() -> None:
    image, mask = labelled(noise(24, 24, 1) % 200)
    _, halved = mask_train_transform(plain(img_size=12, resize=(12, 12)))(image, mask)
    assert torch.equal(halved, mask[::2, ::2].long())
    _, trebled = mask_train_transform(plain(img_size=72, resize=(72, 72)))(image, mask)
    assert torch.equal(trebled, mask.long().repeat_interleave(3, 0).repeat_interleave(3, 1))


def test_crops_lie_everywhere() -> None:
    image, mask = labelled(10 * np.arange(5)[:, None] + np.arange(6))
    corners = Counter(labels[0, 0].item() for _, labels in views(plain(img_size=4, resize=(6, 5)), image, mask, 300))
    assert sorted(corners) == [0, 1, 2, 10, 11, 12]
    assert min(corners.values()) > 30


def test_crops_avoid_one_class_alone() -> None:
    """19 of the 161 positions are good: one draw finds 12 % of them, eleven draws 75 %."""
    image, mask = labelled(columns(40, [0] * 150 + [1] * 50))

    def share_of_good(cat_max_ratio: float) -> float:
        recipe = plain(img_size=40, resize=(200, 40), cat_max_ratio=cat_max_ratio)
        ones = [(labels == 1).float().mean().item() for _, labels in views(recipe, image, mask, 400)]
        return sum(0.25 < share < 0.75 for share in ones) / len(ones)

    assert 0.07 < share_of_good(1.0) < 0.17
    assert 0.69 < share_of_good(0.75) < 0.81


def same_crops(labels: np.ndarray, cat_max_ratio: float) -> bool:
    """Whether no crop was drawn again."""
    image, mask = labelled(labels)
    image = Image.fromarray(noise(*labels.shape, 1))
    recipe = plain(resize=(64, 16), cat_max_ratio=cat_max_ratio)
    drawn, first = (views(r, image, mask, 10) for r in (recipe, recipe.replace(cat_max_ratio=1.0)))
    return all(torch.equal(a, b) for (a, _), (b, _) in zip(drawn, first, strict=True))


def test_which_crops_are_drawn_again() -> None:
    assert same_crops(columns(16, [0, 0, 0, 1] * 16), 0.76)
    assert not same_crops(columns(16, [0, 0, 0, 1] * 16), 0.75)
    assert same_crops(columns(16, ([0, 1] + [IGNORED] * 14) * 4), 0.75)
    assert not same_crops(np.full((16, 64), IGNORED), 0.75)
    assert not same_crops(columns(16, ([0] + [IGNORED] * 15) * 4), 0.75)


def test_flips_mirror_image_and_mask_by_their_chance() -> None:
    image, mask = labelled(np.arange(256).reshape(16, 16) % 250)
    upright = views(plain(), image, mask, 1)[0]
    for axis, chance in ((-1, "hflip"), (-2, "vflip")):
        pixels, labels = views(plain(**{chance: 1.0}), image, mask, 1)[0]
        assert torch.equal(pixels, upright[0].flip(axis))
        assert torch.equal(labels, upright[1].flip(axis))
    drawn = [labels[0, 0].item() for _, labels in views(plain(hflip=0.5, vflip=0.2), image, mask, 400)]
    assert 160 < sum(corner in (15, 255 % 250) for corner in drawn) < 240
    assert 50 < sum(corner in (240, 255 % 250) for corner in drawn) < 110


def test_one_key_means_one_view() -> None:
    recipe = SegmentRecipe(img_size=32)
    image, mask = Image.fromarray(noise(50, 60)), torch.from_numpy(noise(50, 60, 1) % 5)
    before = torch.get_rng_state()
    once, again = views(recipe, image, mask, 5), views(recipe, image, mask, 5)
    assert torch.equal(torch.get_rng_state(), before)
    for a, b in zip(once, again, strict=True):
        assert torch.equal(a[0], b[0])
        assert torch.equal(a[1], b[1])
    assert len({pixels.sum().item() for pixels, _ in once}) == 5


def test_image_and_mask_are_left_as_they_were() -> None:
    image, mask = labelled(noise(16, 16, 1))
    before = np.asarray(image).copy(), mask.clone()
    for recipe in (plain(), plain(photometric=True, hflip=0.5, img_size=24)):
        for pixels, labels in views(recipe, image, mask, 8):
            pixels.zero_()
            labels.zero_()
    assert (np.asarray(image) == before[0]).all()
    assert torch.equal(mask, before[1])


# --- distortions ------------------------------------------------------------------------------------------------------

SWATCHES = np.array([*np.ndindex(2, 2, 2), (0.5, 0.5, 0.5), (1, 0.5, 0.5), (0.01, 0, 0), (1, 1, 0.99), (0.2, 0.2, 0.1)])
COLOURS = np.concatenate([(SWATCHES * 255).round().astype(np.uint8), noise(12, 12).reshape(-1, 3)])


def by_hsv(change: Callable[[float, float, float], tuple[float, float, float]]) -> np.ndarray:
    """COLOURS, each changed as (h, s, v) by the standard library."""
    return np.array([colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*(c / 255)))) for c in COLOURS]) * 255


def assert_near(image: Tensor, expected: np.ndarray, levels: float) -> None:
    assert image.dtype == torch.uint8
    np.testing.assert_allclose(image[:, 0].T.numpy(), expected, atol=levels, rtol=0)


def colours() -> Tensor:
    return torch.from_numpy(COLOURS.T[:, None].copy())


@pytest.mark.parametrize("amount", [-32, -7.3, 0, 12.6, 32.0])
def test_brightness_is_added(amount: float) -> None:
    assert_near(add_brightness(colours(), amount), np.clip(COLOURS.astype(float) + amount, 0, 255), 0.5001)


@pytest.mark.parametrize("factor", [0.5, 0.77, 1, 1.5, 2])
def test_contrast_is_multiplied(factor: float) -> None:
    assert_near(scale_contrast(colours(), factor), np.clip(COLOURS.astype(float) * factor, 0, 255), 0.5001)


@pytest.mark.parametrize("factor", [0.5, 0.77, 1, 1.2, 1.5])
def test_saturation_is_that_of_hsv(factor: float) -> None:
    expected = by_hsv(lambda h, s, v: (h, min(s * factor, 1), v))
    assert_near(scale_saturation(colours(), factor), expected, 0.501)


@pytest.mark.parametrize("shift", [-0.1, -0.03, 0, 0.06, 0.1])
def test_hue_goes_round_the_circle(shift: float) -> None:
    assert_near(F.adjust_hue(colours(), shift), by_hsv(lambda h, s, v: ((h + shift) % 1, s, v)), 1.5)


def test_distortions_come_by_chance_and_within_their_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[tuple[str, float]]] = []

    def noting(name: str) -> Callable[[Tensor, float], Tensor]:
        def note(image: Tensor, amount: float) -> Tensor:
            calls[-1].append((name, amount))
            return image

        return note

    ranges = {
        "add_brightness": (-32, 32),
        "scale_contrast": (0.5, 1.5),
        "scale_saturation": (0.5, 1.5),
        "adjust_hue": (-0.1, 0.1),
    }
    for name in ranges:
        monkeypatch.setattr(mask_transforms.F if name == "adjust_hue" else mask_transforms, name, noting(name))
    for _ in range(2000):
        calls.append([])
        photometric_distortion(torch.zeros(3, 1, 1, dtype=torch.uint8))
    for name, (low, high) in ranges.items():
        amounts = [amount for call in calls for called, amount in call if called == name]
        assert 900 < len(amounts) < 1100
        assert low <= min(amounts) < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < max(amounts) <= high
        assert abs(np.mean(amounts) - (low + high) / 2) < 0.04 * (high - low)
    whole = Counter(tuple(name for name, _ in call) for call in calls if len(call) == 4)
    assert set(whole) == {
        ("add_brightness", "scale_contrast", "scale_saturation", "adjust_hue"),
        ("add_brightness", "scale_saturation", "adjust_hue", "scale_contrast"),
    }
    assert min(whole.values()) > 35  # of about 125, half
    assert 90 < sum(not call for call in calls) < 160  # a sixteenth


def test_grey_images_change_in_brightness_and_contrast_alone() -> None:
    image = torch.full((1, 2, 2), 100, dtype=torch.uint8)
    drawn = [photometric_distortion(image) for _ in range(1500)]
    assert all((d.shape, d.dtype, len(d.unique())) == ((1, 2, 2), torch.uint8, 1) for d in drawn)
    levels = [int(d[0, 0, 0]) for d in drawn]
    assert 34 <= min(levels) < 42
    assert 185 < max(levels) <= 198
    assert 300 < levels.count(100) < 450  # a quarter, and what rounds to 100


# --- evaluation -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((512, 683), (512, 683)),
        ((683, 512), (683, 512)),
        ((300, 4000), (154, 2048)),
        ((200, 300), (512, 768)),
        ((1024, 2048), (512, 1024)),
        ((1000, 3), (2048, 6)),
        ((5000, 1), (2048, 1)),
        ((1, 1), (512, 512)),
    ],
)
def test_fitted_sizes(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert fitted_size(size, (2048, 512)) == expected


def test_what_an_image_has_to_fit_is_cut_to_whole_pixels() -> None:
    """2048 x 512 times 1.387 is 2840.6 x 710.1: the short side becomes 710, the long one 946.7 -> 947."""
    assert fitted_size((512, 683), (2048, 512), 1.387) == (710, 947)
    assert fitted_size((512, 683), (2048, 512), 1.3886) == (710, 947)  # 710.96, cut to 710


def test_views_for_evaluation_have_a_size_each_and_the_mask_its_own() -> None:
    mask = torch.from_numpy(noise(32, 43, 1))
    transform = mask_eval_transform(SegmentPreprocessing((128, 32)), (0.5, 1.0, 1.75))
    pixels, untouched = transform(Image.fromarray(noise(32, 43)), mask)
    assert [view.shape for view in pixels] == [(3, 16, 22), (3, 32, 43), (3, 56, 75)]
    assert untouched is mask
    levels = torch.from_numpy(noise(32, 43)).permute(2, 0, 1).double() / 255
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    torch.testing.assert_close(pixels[1], ((levels - mean) / std).float())


def half_pixel_bilinear(levels: np.ndarray, height: int, width: int) -> np.ndarray:
    """(H, W) to (height, width), one output pixel at a time, by the four pixels around its centre."""

    def around(index: int, new: int, old: int) -> tuple[int, int, float]:
        centre = max((index + 0.5) * old / new - 0.5, 0)
        return int(centre), min(int(centre) + 1, old - 1), centre - int(centre)

    out = np.empty((height, width))
    for y, x in np.ndindex(height, width):
        (top, bottom, down), (left, right, across) = around(y, height, len(levels)), around(x, width, levels.shape[1])
        upper = levels[top, left] * (1 - across) + levels[top, right] * across
        lower = levels[bottom, left] * (1 - across) + levels[bottom, right] * across
        out[y, x] = upper * (1 - down) + lower * down
    return out


@pytest.mark.parametrize("size", [(20, 31), (64, 64), (7, 90), (1, 12)])
@pytest.mark.parametrize("resize", [(30, 10), (100, 33)])
def test_images_are_resized_at_half_pixel_centres(size: tuple[int, int], resize: tuple[int, int]) -> None:
    levels = noise(*size, 1)
    (view,), _ = mask_eval_transform(SegmentPreprocessing(resize, **LEVELS[1]))(Image.fromarray(levels), torch.zeros(0))
    expected = half_pixel_bilinear(levels.astype(float), *view.shape[1:])
    np.testing.assert_allclose(view[0].numpy(), expected, atol=1.01, rtol=0)


# --- what recipes say -------------------------------------------------------------------------------------------------


def test_preprocessing_follows_the_recipe() -> None:
    default = SegmentRecipe(img_size=96).preprocessing()
    assert default.resize == (384, 96)
    swapped = plain(resize=(512, 2048)).preprocessing()
    assert swapped.resize == (2048, 512)
    assert swapped.to_dict() == {"resize": (2048, 512), "mean": swapped.mean, "std": swapped.std}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resize": (512,)}, "--resize takes two positive numbers, not 512"),
        ({"resize": ()}, "--resize takes two positive numbers, not none"),
        ({"resize": (512, 0)}, "--resize takes two positive numbers, not 512 0"),
        ({"resize": (1, 2, 3)}, "--resize takes two positive numbers, not 1 2 3"),
        ({"scale": (-0.5, 2.0)}, "--scale takes two positive numbers, not -0.5 2.0"),
        ({"scale": (1.0,)}, "--scale takes two positive numbers, not 1.0"),
    ],
)
def test_numbers_that_no_image_can_have(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TwinsError) as error:
        mask_train_transform(SegmentRecipe(**changes))
    assert str(error.value) == message


@pytest.mark.parametrize("scales", [(), (1.0, 0.0), (-1.0,)])
def test_scales_that_no_view_can_have(scales: tuple[float, ...]) -> None:
    with pytest.raises(TwinsError, match="--test-scales takes one positive number or more, not "):
        mask_eval_transform(SegmentPreprocessing(), scales)


def test_crop_that_no_image_fills() -> None:
    recipe = SegmentRecipe(img_size=512, resize=(200, 100))
    assert crop_error(recipe, [(64, 96), (9, 10)]) == (
        "--img-size 512 is larger than any image: the largest, 96 x 64, is at most 300 x 200 after resizing; raise "
        "--resize (200 100) or --scale (up to 2), or lower --img-size and give --resize 200 100 with it"
    )
    assert crop_error(recipe.replace(img_size=300), [(64, 96)]) is None  # one side is enough
    assert crop_error(recipe.replace(img_size=301), [(64, 96)]) is not None
    assert crop_error(recipe.replace(img_size=301), [(64, 96), (10, 80)]) is None  # as is one image
    assert crop_error(recipe, []) is None
    assert crop_error(SegmentRecipe(), [(8, 8)]) is None  # without --resize images are brought to the crop

"""Images, boxes and masks on their way into a detector: sizes, crops, and whether what belongs together stays so."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torchvision.ops import masks_to_boxes

from twins.data.boxes.transforms import Target, box_eval_transform, box_train_transform
from twins.data.randomness import keyed_randomness
from twins.errors import TwinsError
from twins.preprocessing import DetectPreprocessing
from twins.recipes import DetectRecipe, find_recipe


def plain(size: int, **changes: Any) -> DetectRecipe:
    """Nothing by chance, and no limit to the longest side."""
    return DetectRecipe(**{"img_size": size, "max_size": 100 * size, "hflip": 0.0, **changes})


def cropping(size: int, crop: tuple[int, int], **changes: Any) -> DetectRecipe:
    """Each image of shortest side `size` is cropped as it is, then enlarged: all that the crop has can be seen."""
    return plain(4 * size, **{"crop_prob": 1.0, "crop_sizes": (size,), "crop": crop, **changes})


def published(name: str) -> DetectRecipe:
    recipe = find_recipe(name, "detect")
    assert isinstance(recipe, DetectRecipe)
    return recipe


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height + width).integers(0, 256, (height, width)).astype(np.uint8)


def black(height: int, width: int) -> Image.Image:
    return Image.new("L", (width, height))


class WholeMasks(Tensor):
    """Masks of all pixels, of which rows and columns are taken: what `ObjectMasks` must come to."""

    def seen(self, rows: np.ndarray, columns: np.ndarray, which: list[int]) -> np.ndarray:
        return self.as_subclass(Tensor).numpy()[np.ix_(which, rows, columns)]


def rectangles(height: int, width: int, *boxes: tuple[int, int, int, int]) -> Target:
    """A target of filled boxes x0, y0, x1, y1, with their indices as labels."""
    masks = torch.zeros(len(boxes), height, width, dtype=torch.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = 1
    corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return {"boxes": corners, "labels": torch.arange(len(boxes)), "masks": masks.as_subclass(WholeMasks)}


def coordinates(height: int, width: int) -> Target:
    """Two objects that fill the image; their "masks" are the number of each row and that of each column."""
    target = rectangles(height, width, *[(0, 0, width, height)] * 2)
    target["masks"] = torch.from_numpy(np.indices((height, width)).astype(np.uint8)).as_subclass(WholeMasks)
    return target


def seen(target: Target) -> tuple[list[int], list[int]]:
    """Which rows and columns a view of `coordinates` shows."""
    return target["masks"][0, :, 0].unique().tolist(), target["masks"][1, 0].unique().tolist()


def views(recipe: DetectRecipe, image: Image.Image, target: Target, count: int) -> list[tuple[Tensor, Target]]:
    transform = box_train_transform(recipe)
    drawn = []
    for repeat in range(count):
        with keyed_randomness("sample", repeat):
            drawn.append(transform(image, target))
    return drawn


# --- by hand ----------------------------------------------------------------------------------------------------------


def test_a_view_mirrored_and_enlarged_by_hand() -> None:
    image = Image.fromarray(np.arange(32, dtype=np.uint8).reshape(4, 8))
    target = rectangles(4, 8, (1, 0, 3, 2), (4, 1, 8, 4))
    pixels, moved = box_train_transform(plain(4, hflip=1.0))(image, target)
    assert pixels[0].tolist() == np.asarray(image)[:, ::-1].tolist()
    assert moved["boxes"].tolist() == [[5, 0, 7, 2], [0, 1, 4, 4]]
    assert moved["masks"][0].tolist() == [[0, 0, 0, 0, 0, 1, 1, 0]] * 2 + [[0] * 8] * 2
    _, moved = box_train_transform(plain(4, vflip=1.0))(image, target)
    assert moved["boxes"].tolist() == [[1, 2, 3, 4], [4, 0, 8, 3]]
    _, moved = box_train_transform(plain(8, hflip=1.0, vflip=1.0))(image, target)
    assert moved["boxes"].tolist() == [[10, 4, 14, 8], [0, 0, 8, 6]]
    assert moved["masks"][0].tolist() == [[0] * 16] * 4 + [[0] * 10 + [1] * 4 + [0] * 2] * 4
    assert moved["labels"].tolist() == [0, 1]


def test_boxes_are_scaled_by_the_very_ratios() -> None:
    """640 x 427 times 800/427 is 1199.06 x 800, which is rounded to 1199: less for x than for y."""
    target = rectangles(427, 640, (64, 61, 320, 244))
    pixels, moved = box_train_transform(published("mask_rcnn_svt_small_1x").replace(hflip=0.0))(black(427, 640), target)
    assert pixels.shape == (1, 800, 1199)
    expected = torch.tensor([[64 * 1199 / 640, 61 * 800 / 427, 320 * 1199 / 640, 244 * 800 / 427]])
    torch.testing.assert_close(moved["boxes"], expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((480, 640), (800, 1067)), ((640, 480), (1067, 800)), ((200, 640), (417, 1333)), ((800, 1333), (800, 1333))],
)
def test_published_sizes_of_1x(size: tuple[int, int], expected: tuple[int, int]) -> None:
    pixels, moved = box_train_transform(published("retinanet_svt_small_1x"))(black(*size), rectangles(*size))
    assert pixels.shape == (1, *expected)
    assert moved["masks"].shape == (0, *expected)


def test_pixels_are_sampled_as_opencv_does() -> None:
    """Of four pixels for one, bilinear resizing without antialias sees the two in the middle, the nearest the first."""
    levels = np.tile(np.array([0, 100, 200, 0], dtype=np.uint8), (16, 4))
    target = rectangles(16, 16, (0, 0, 16, 16))
    target["masks"][0] = torch.from_numpy(levels)
    pixels, moved = box_train_transform(plain(4))(Image.fromarray(levels), target)
    assert (pixels == 150).all()
    assert moved["masks"].shape == (1, 4, 4)
    assert (moved["masks"] == 0).all()


# --- what is drawn ----------------------------------------------------------------------------------------------------


def test_published_sizes_of_3x() -> None:
    target = rectangles(48, 64)
    sizes = [pixels.shape[1:] for pixels, _ in views(published("mask_rcnn_svt_small_3x"), black(48, 64), target, 100)]
    assert {min(size) for size in sizes} == set(range(480, 801, 32))
    assert max(max(size) for size in sizes) <= 800 * 600 / 384 + 1
    whole = sum(size[1] == int(size[0] * 4 / 3 + 0.5) for size in sizes)
    assert 38 < whole < 62  # half of them are not cropped


def test_crops_have_every_size_between_the_bounds_and_lie_everywhere() -> None:
    crops = Counter[tuple[int, int, int, int]]()
    for _, moved in views(cropping(7, (3, 5)), black(9, 7), coordinates(9, 7), 600):
        rows, columns = seen(moved)
        assert rows == list(range(rows[0], rows[-1] + 1))
        assert columns == list(range(columns[0], columns[-1] + 1))
        crops[len(rows), len(columns), rows[0], columns[0]] += 1
    assert {crop[:2] for crop in crops} == {(h, w) for h in (3, 4, 5) for w in (3, 4, 5)}
    for h, w in {crop[:2] for crop in crops}:
        assert 43 < sum(count for crop, count in crops.items() if crop[:2] == (h, w)) < 91  # 67 expected
    for axis, side in ((0, 9), (1, 7)):
        for length in (3, 4, 5):
            starts = Counter[int]()
            for crop, count in crops.items():
                if crop[axis] == length:
                    starts[crop[2 + axis]] += count
            assert sorted(starts) == list(range(side - length + 1))
            assert min(starts.values()) > 0.5 * starts.total() / len(starts)


@pytest.mark.parametrize(
    ("size", "lengths"),
    [((4, 9), ({3, 4}, {3, 4, 5})), ((9, 2), ({3, 4, 5}, {2})), ((1, 1), ({1}, {1}))],
)
def test_crops_take_what_there_is(size: tuple[int, int], lengths: tuple[set[int], set[int]]) -> None:
    for crop in ((3, 5), (5, 3)):
        shown = [seen(moved) for _, moved in views(cropping(min(size), crop), black(*size), coordinates(*size), 60)]
        assert ({len(rows) for rows, _ in shown}, {len(columns) for _, columns in shown}) == lengths


def test_images_are_resized_for_the_crop_to_any_of_its_sizes() -> None:
    """10 pixels of an image enlarged from 20 to 40 or 80 show 5 or 6, or 3 or 4, of its own."""
    recipe = plain(40, crop_prob=1.0, crop_sizes=(20, 40, 80), crop=(10, 10))
    counts = Counter(len(seen(moved)[0]) for _, moved in views(recipe, black(20, 20), coordinates(20, 20), 300))
    assert set(counts) == {10, 5, 6, 3, 4}
    assert all(70 < sum(counts[n] for n in group) < 130 for group in ((10,), (5, 6), (3, 4)))


def test_strips_are_cropped_without_filling_the_memory() -> None:
    target = coordinates(2, 200)
    recipe = published("mask_rcnn_svt_small_3x").replace(crop_prob=1.0, crop_sizes=(400, 600))
    for pixels, moved in views(recipe, black(2, 200), target, 4):  # 1333 x 13, of which 384 to 600 columns are cut
        rows, columns = seen(moved)
        assert rows == [0, 1]
        assert 56 <= len(columns) <= 92
        assert pixels.shape[2] == 1333


def test_flips_and_crops_come_by_their_chance() -> None:
    recipe = plain(8, hflip=0.5, vflip=0.2, crop_prob=0.3, crop_sizes=(8,), crop=(4, 4))
    shown = [moved["masks"] for _, moved in views(recipe, black(8, 8), coordinates(8, 8), 500)]
    assert 205 < sum(bool(masks[1, 0, 0] > masks[1, 0, -1]) for masks in shown) < 295
    assert 70 < sum(bool(masks[0, 0, 0] > masks[0, -1, 0]) for masks in shown) < 130
    assert 115 < sum(len(masks[0, :, 0].unique()) == 4 for masks in shown) < 185


# --- what belongs together --------------------------------------------------------------------------------------------

SIDES = st.integers(1, 60)


@given(
    size=st.tuples(SIDES, SIDES),
    corners=st.lists(st.tuples(*[st.floats(0, 1)] * 4), max_size=4),
    crop_prob=st.sampled_from([0.0, 1.0]),
    key=st.integers(0, 1000),
)
def test_boxes_masks_and_labels_stay_together(
    size: tuple[int, int], corners: list[tuple[float, ...]], crop_prob: float, key: int
) -> None:
    height, width = size
    boxes = []
    for a, b, c, d in corners:
        x0, x1 = sorted((int(a * (width - 1)), int(b * (width - 1))))
        y0, y1 = sorted((int(c * (height - 1)), int(d * (height - 1))))
        boxes.append((x0, y0, x1 + 1, y1 + 1))
    recipe = plain(64, max_size=100, train_sizes=(32, 64), hflip=0.5, vflip=0.5, crop_prob=crop_prob,
                   crop_sizes=(24, 48), crop=(16, 32))  # fmt: skip
    with keyed_randomness(key):
        pixels, moved = box_train_transform(recipe)(black(*size), rectangles(*size, *boxes))
    new_height, new_width = pixels.shape[1:]
    assert moved["boxes"].dtype == torch.float32
    assert moved["masks"].dtype == torch.uint8
    assert moved["masks"].shape == (len(moved["labels"]), new_height, new_width)
    assert moved["boxes"].shape == (len(moved["labels"]), 4)
    assert (moved["boxes"] >= 0).all()
    assert (moved["boxes"] <= torch.tensor([new_width, new_height] * 2)).all()
    assert (moved["boxes"][:, 2:] > moved["boxes"][:, :2]).all()
    off = 1 + 64 / 16 * crop_prob  # a pixel where resized, times as much as a crop is enlarged
    for box, mask in zip(moved["boxes"], moved["masks"], strict=True):
        if mask.any():
            bounds = masks_to_boxes(mask[None])[0] + torch.tensor([0, 0, 1, 1])
            torch.testing.assert_close(bounds, box, atol=off, rtol=0)
        else:
            assert (box[2:] - box[:2]).min() < off


def test_crops_cut_boxes_and_drop_what_is_outside() -> None:
    """A grid of objects of 4 x 4; what each crop leaves of them follows from the rows and columns that it shows."""
    corners = [(x, y, x + 4, y + 4) for y in range(0, 16, 4) for x in range(0, 24, 4)]
    grid, positions = rectangles(16, 24, *corners), coordinates(16, 24)
    target = {key: torch.cat([grid[key], positions[key]]) for key in grid}
    for pixels, moved in views(cropping(16, (5, 9)), black(16, 24), target, 40):
        masks = {"masks": moved["masks"][-2:]}
        rows, columns = seen(masks)
        scale = torch.tensor([pixels.shape[2] / len(columns), pixels.shape[1] / len(rows)] * 2)
        expected = []
        for label, (x0, y0, x1, y1) in enumerate(corners):
            x0, x1 = (min(max(x, columns[0]), columns[-1] + 1) - columns[0] for x in (x0, x1))
            y0, y1 = (min(max(y, rows[0]), rows[-1] + 1) - rows[0] for y in (y0, y1))
            if x0 < x1 and y0 < y1:
                expected.append((label, torch.tensor([x0, y0, x1, y1]) * scale))
        assert moved["labels"][:-2].tolist() == [label for label, _ in expected]
        torch.testing.assert_close(moved["boxes"][:-2], torch.stack([box for _, box in expected]))
        assert (moved["masks"][:-2].sum(0) == 1).all()  # the grid has neither gaps nor overlaps


def test_an_object_that_ends_where_a_crop_begins_is_dropped() -> None:
    """In float32, 13 times 28/26 is a millionth more than 14."""
    target = rectangles(26, 26, (0, 0, 13, 26), (13, 0, 26, 26))
    recipe = plain(28, crop_prob=1.0, crop_sizes=(28,), crop=(14, 14))
    drawn = [moved for _, moved in views(recipe, black(26, 26), target, 150)]
    assert [0] in [moved["labels"].tolist() for moved in drawn]
    assert [1] in [moved["labels"].tolist() for moved in drawn]
    assert min(moved["boxes"][:, 2].sub(moved["boxes"][:, 0]).min().item() for moved in drawn) > 1.9


def test_crops_without_any_object_are_kept() -> None:
    target = rectangles(12, 12, (0, 0, 2, 2))
    counts = Counter(len(moved["labels"]) for _, moved in views(cropping(12, (4, 6)), black(12, 12), target, 60))
    assert set(counts) == {0, 1}
    assert counts[0] > counts[1]


def test_image_and_masks_show_the_same_things() -> None:
    boxes = [(3, 5, 30, 28), (40, 2, 77, 21), (10, 34, 70, 57)]
    target = rectangles(60, 80, *boxes)
    image = Image.fromarray((target["masks"].sum(0) * 200).to(torch.uint8).numpy())
    recipe = plain(96, train_sizes=(50, 96), hflip=0.5, vflip=0.5, crop_prob=0.5, crop_sizes=(60, 70), crop=(30, 60))
    for pixels, moved in views(recipe, image, target, 40):
        # Bilinear pixels between two levels aside, and a nearest one beside them.
        even = torch.nn.functional.max_pool2d(torch.stack([pixels[0], 255 - pixels[0]])[None].float(), 7, 1, 3)[0]
        inside, outside = even[1] == 55, even[0] == 0
        assert (inside | outside).float().mean() > 0.4
        covered = moved["masks"].sum(0)
        assert (covered[inside] == 1).all()
        assert (covered[outside] == 0).all()


def test_an_object_of_no_area_is_dropped() -> None:
    target = rectangles(8, 8, (1, 1, 5, 5), (3, 3, 3, 6), (2, 2, 6, 4), (8, 0, 9, 8))
    _, moved = box_train_transform(plain(16))(black(8, 8), target)
    assert moved["labels"].tolist() == [0, 2]
    assert moved["boxes"].tolist() == [[2, 2, 10, 10], [4, 4, 12, 8]]
    assert moved["masks"].sum((1, 2)).tolist() == [64, 32]


@pytest.mark.parametrize("recipe", [plain(16, hflip=1.0), cropping(8, (2, 4))])
@pytest.mark.parametrize("count", [0, 1])
def test_targets_without_masks_or_without_objects(recipe: DetectRecipe, count: int) -> None:
    target = rectangles(8, 9, *[(0, 0, 9, 8)] * count)
    with_masks = views(recipe, black(8, 9), target, 5)
    del target["masks"]
    for (_, moved), (_, expected) in zip(views(recipe, black(8, 9), target, 5), with_masks, strict=True):
        assert moved.keys() == {"boxes", "labels"}
        assert (moved["boxes"].shape, moved["boxes"].dtype) == ((count, 4), torch.float32)
        assert (moved["labels"].shape, moved["labels"].dtype) == ((count,), torch.int64)
        assert torch.equal(moved["boxes"], expected["boxes"])


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3)])
def test_grey_and_colour_images_stay_bytes(mode: str, channels: int) -> None:
    for transform in (box_train_transform(plain(20)), box_eval_transform):
        pixels, _ = transform(Image.new(mode, (30, 20), "white"), rectangles(20, 30))
        assert (pixels.shape, pixels.dtype) == ((channels, 20, 30), torch.uint8)
        assert (pixels == 255).all()


def test_one_key_means_one_view() -> None:
    recipe = plain(64, train_sizes=(32, 40, 48, 56, 64), hflip=0.5, crop_prob=0.5, crop_sizes=(32, 48), crop=(16, 32))
    image, target = Image.fromarray(noise(50, 60)), rectangles(50, 60, (3, 4, 50, 40), (0, 0, 20, 50))
    before = torch.get_rng_state()
    once, again = views(recipe, image, target, 6), views(recipe, image, target, 6)
    assert torch.equal(torch.get_rng_state(), before)
    for (pixels, moved), (same_pixels, same) in zip(once, again, strict=True):
        assert torch.equal(pixels, same_pixels)
        assert all(torch.equal(moved[key], same[key]) for key in target)
    assert len({pixels.sum().item() for pixels, _ in once}) > 3


def test_image_and_target_are_left_as_they_were() -> None:
    image, target = Image.fromarray(noise(16, 16)), rectangles(16, 16, (1, 2, 9, 9), (-3, 0, 40, 16))
    before = np.asarray(image).copy(), {key: value.clone() for key, value in target.items()}
    for recipe in (plain(16), plain(16, hflip=0.5, vflip=0.5), cropping(16, (8, 12))):
        for pixels, moved in views(recipe, image, target, 8):
            for changed in (pixels, *moved.values()):
                changed.zero_()
    assert (np.asarray(image) == before[0]).all()
    assert all(torch.equal(target[key], before[1][key]) for key in target)


def test_evaluation_sees_image_and_target_as_they_are() -> None:
    levels, target = noise(30, 41), rectangles(30, 41, (1, 2, 9, 9))
    pixels, same = box_eval_transform(Image.fromarray(levels), target)
    assert (pixels[0].numpy() == levels).all()
    assert same is target


# --- what recipes say -------------------------------------------------------------------------------------------------


def test_preprocessing_follows_the_recipe() -> None:
    assert (
        published("mask_rcnn_svt_small_3x").preprocessing() == DetectPreprocessing() == DetectPreprocessing(800, 1333)
    )
    small = DetectRecipe(img_size=96, in_chans=1, mean=(0.5,), std=(0.25,)).preprocessing()
    assert small.to_dict() == {"min_size": 96, "max_size": 160, "mean": (0.5,), "std": (0.25,)}
    assert DetectRecipe(img_size=640, max_size=640).preprocessing().max_size == 640


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"max_size": 799},
            "images cannot have 799 as their longest side and 800 (--img-size) as their shortest: "
            "pass --max-size 800 or more",
        ),
        (
            {"train_sizes": (480, 1400, 800)},
            "images cannot have 1333 as their longest side and 1400 (--train-sizes) as their shortest: "
            "pass --max-size 1400 or more",
        ),
    ],
)
def test_sizes_that_no_image_can_have(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TwinsError) as error:
        box_train_transform(DetectRecipe(**changes))
    assert str(error.value) == message

"""Masks that are rasterised as far as they are seen: the same pixels as of whole masks, without holding those."""

from __future__ import annotations

import pickle
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from twins.data.boxes.object_masks import ObjectMasks
from twins.data.boxes.segmentations import Segmentation, compressed_rle, rasterised, rle_of

SIZE = (23, 31)
EVERY = np.arange(SIZE[0]), np.arange(SIZE[1])


def polygons(seed: int, count: int = 2) -> list[np.ndarray]:
    """Of five points each, some of them outside of the image."""
    rng = np.random.default_rng(seed)
    return [(rng.random((5, 2)) * (1.4 * SIZE[1], 1.4 * SIZE[0]) - 4).round(2).ravel() for _ in range(count)]


def speckled(seed: int) -> Segmentation:
    """Runs of up to 8 pixels."""
    ends = np.random.default_rng(seed).integers(1, 9, 400).cumsum()
    pixels = SIZE[0] * SIZE[1]
    return compressed_rle(
        {"size": list(SIZE), "counts": np.diff(ends[ends < pixels], prepend=0, append=pixels).tolist()}
    )


SEGMENTATIONS: list[Segmentation] = [
    *[polygons(seed) for seed in range(20)],
    *[rle_of(polygons(seed, 1), SIZE) for seed in range(20, 24)],
    *[speckled(seed) for seed in range(4)],
    [np.array([0.0, 0, 31, 0, 31, 23, 0, 23])],  # the whole image
    [np.array([30.0, 22, 31, 22, 31, 23, 30, 23])],  # its last pixel
    [np.array([50.0, 50, 60, 50, 60, 60])],  # outside
    [np.array([3.0, 3, 9, 3, 12, 3])],  # a line
]


@given(
    crop=st.tuples(*[st.floats(0, 1)] * 4),
    new=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    flips=st.tuples(st.booleans(), st.booleans()),
)
def test_what_is_seen_are_the_rows_and_columns_of_whole_masks(
    crop: tuple[float, ...], new: tuple[int, int], flips: tuple[bool, bool]
) -> None:
    seen = []
    for side, of_side, first, last, flip in zip(SIZE, new, crop[:2], crop[2:], flips, strict=True):
        start, end = sorted((int(first * (side - 1)), int(last * (side - 1))))
        positions = start + np.arange(of_side) * (end + 1 - start) // of_side
        seen.append(positions[::-1] if flip else positions)
    which = list(range(1, len(SEGMENTATIONS), 2))
    expected = [rasterised(SEGMENTATIONS[i], SIZE)[np.ix_(*seen)] for i in which]
    masks = ObjectMasks(SIZE, SEGMENTATIONS).seen(*seen, which)
    assert masks.dtype == np.uint8
    assert np.array_equal(masks, np.array(expected))


def test_they_stand_for_the_tensor_of_all_pixels() -> None:
    masks = ObjectMasks(SIZE, SEGMENTATIONS)
    whole = torch.from_numpy(np.array([rasterised(segmentation, SIZE) for segmentation in SEGMENTATIONS]))
    assert (masks.shape, len(masks), masks.numel(), masks.dtype) == (
        whole.shape, len(whole), whole.numel(), torch.uint8
    )  # fmt: skip
    assert masks.tensor().equal(whole)
    assert masks[3].equal(whole[3])
    assert masks[-1, 5:9].equal(whole[-1, 5:9])
    assert masks[2:5, :, ::2].equal(whole[2:5, :, ::2])
    assert masks[torch.tensor([4, 1])].equal(whole[[4, 1]])
    assert torch.stack(list(masks)).equal(whole)
    assert masks.sum(dim=(1, 2)).equal(whole.sum(dim=(1, 2)))
    assert pickle.loads(pickle.dumps(masks)).tensor().equal(whole)  # noqa: S301
    assert ObjectMasks(SIZE, []).tensor().shape == (0, *SIZE)


def test_an_object_without_segmentation_has_an_empty_mask() -> None:
    masks = ObjectMasks(SIZE, [None, SEGMENTATIONS[0]])
    assert (int(masks[0].sum()), int(masks[1].sum())) == (0, int(rasterised(SEGMENTATIONS[0], SIZE).sum()))


def test_masks_meet_the_boxes_in_which_they_have_pixels() -> None:
    square = [np.array([4.0, 5, 10, 5, 10, 9, 4, 9])]
    nothing = compressed_rle({"size": list(SIZE), "counts": [23 * 31]})
    outside, line = SEGMENTATIONS[-2:]
    masks = ObjectMasks(SIZE, [square, square, square, square, nothing, outside, line, None])
    boxes = np.array([[4.0, 5, 10, 9], [9.5, 8.5, 20, 20], [10, 5, 20, 9], [0, 9, 20, 20], *[[0, 0, 31, 23]] * 4])
    assert masks.meet(boxes).tolist() == [True, True, False, False, False, False, False, False]
    assert ObjectMasks(SIZE, []).meet(np.zeros((0, 4))).shape == (0,)


@pytest.mark.parametrize("counts", ["X2", "", b"X2"])
def test_runs_that_do_not_fill_the_image_mean_nothing(counts: str | bytes) -> None:
    with pytest.raises(ValueError, match="in an image of 713"):
        ObjectMasks(SIZE, [{"size": list(SIZE), "counts": counts}])


def test_small_objects_in_a_large_image_take_little_memory() -> None:
    """Sixty whole masks of 24 megapixels would take 1.4 GB."""
    squares: list[Segmentation] = [
        [np.array([90.0 * i, 50, 90 * i + 40, 50, 90 * i + 40, 90, 90 * i, 90])] for i in range(60)
    ]
    rows, columns = np.arange(889) * 4000 // 889, np.arange(1333) * 6000 // 1333
    tracemalloc.start()
    try:
        masks = ObjectMasks((4000, 6000), squares).seen(rows, columns, range(60))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert masks.sum(dtype=np.int64) == sum(
        int(((rows >= 50) & (rows < 90)).sum() * ((columns >= 90 * i) & (columns < 90 * i + 40)).sum())
        for i in range(60)
    )
    assert peak < masks.nbytes + 2**20

"""What is known of polygons by their points alone, beside what their pixels say."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("faster_coco_eval")

from twins.data.boxes.polygons import bounded_polygon, extents_of_points, may_be_unbounded
from twins.data.boxes.segmentations import box_of

SIZE = (100, 120)


def extents_of_pixels(polygons):
    x, y, width, height = box_of(polygons, SIZE)
    return [x, y, x + width, y + height]


def ellipse(x, y, across, down, times=1):
    angles = np.linspace(0, 2 * np.pi * times, 24 * times, endpoint=False)
    return np.stack([x + across * np.cos(angles), y + down * np.sin(angles)], axis=1).ravel()


def test_polygons_that_surely_have_pixels_reach_as_far_as_these():
    rng = np.random.default_rng(0)
    ellipses = [ellipse(*rng.uniform(32, 68, 2), *rng.uniform(0.1, 30, 2)) for _ in range(400)]
    ragged = [ellipse(50, 50, 30, 30) + rng.uniform(-4, 4, 48) for _ in range(100)]
    objects = [[polygon] for polygon in ellipses + ragged]
    extents, have_pixels = extents_of_points(objects)
    assert have_pixels.mean() > 0.7  # the rest are flat or small
    pixels = np.array([extents_of_pixels(polygons) for polygons in objects])
    assert (pixels[have_pixels, 2] > 0).all()
    assert np.abs(extents - pixels)[have_pixels].max() < 2


@pytest.mark.parametrize(
    "polygon",
    [
        np.array([20, 20.6, 100, 20.6, 100, 20.9, 20, 20.9]),  # between the centres of pixels
        ellipse(50, 50, 30, 20, times=2),
        np.array([20.0, 20, 80, 80, 80, 20, 20, 80]),  # two triangles that wind against each other
        np.array([50.0, 50, 50, 50, 50, 50]),
    ],
    ids=["flat", "around twice", "crossing itself", "a point"],
)
def test_polygons_that_may_have_no_pixel_are_not_vouched_for(polygon):
    assert not extents_of_points([[polygon]])[1].any()


def test_an_object_of_several_polygons_reaches_around_all_of_them():
    small, large = np.array([3.0, 4, 5, 4, 5, 6]), ellipse(60, 50, 20, 20)
    extents, have_pixels = extents_of_points([[small], [small, large], [large]])
    np.testing.assert_allclose(extents, [[3, 4, 5, 6], [3, 4, 80, 70], [40, 30, 80, 70]])
    assert have_pixels.tolist() == [False, True, True]


def test_what_is_bounded_already_stays_as_it_is():
    for reach, changes in ((119.0, False), (240.0, False), (241.0, True), (-120.0, False), (-121.0, True)):
        polygon = [reach, 10.0, 20.0, 10.0, 20.0, 30.0]
        assert bool(may_be_unbounded(len(polygon), min(polygon), max(polygon), 120)) == changes
        assert (bounded_polygon(polygon, SIZE) is not polygon) == changes

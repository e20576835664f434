"""What is drawn over images, by their pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from twins.data.palette import class_colours
from twins.plots.boxes import GAP, PANEL, Boxed, draw_boxes, draw_detections

CLASSES = ("cat", "dog", "the longest name of all of them")
CAT, DOG, LONGEST = class_colours(4)[1:].tolist()


def found(*boxes: tuple[float, float, float, float], labels: list[int], scores: list[float]) -> dict[str, Tensor]:
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(labels, dtype=torch.int64),
        "scores": torch.tensor(scores),
    }


def noise(width: int, height: int, channels: int = 3) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return Image.fromarray(pixels if channels == 3 else pixels[..., 0])


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[float, ...]]]:
    """Every text that is drawn, and what it covers: left, top, right, bottom."""
    texts = []
    draw = ImageDraw.ImageDraw.text

    def noting(self, xy, text, fill, font, **options):
        texts.append((text, self.textbbox(xy, text, font, **options)))
        draw(self, xy, text, fill, font, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", noting)
    return texts


def test_a_box_is_outlined_and_nothing_else_changes() -> None:
    image = noise(200, 150)
    before = image.copy()
    drawn = np.array(draw_detections(image, found((20, 50, 120, 100), labels=[1], scores=[0.9]), CLASSES, 0.5))
    assert image == before
    changed = (drawn != np.array(image)).any(axis=2)
    rows, columns = np.nonzero(changed[50:])
    assert (50 + rows.min(), 50 + rows.max(), columns.min(), columns.max()) == (50, 99, 20, 119)
    for edge in (drawn[50, 20:120], drawn[99, 20:120], drawn[50:100, 20], drawn[50:100, 119]):
        assert (edge == DOG).all()
    assert not changed[52:98, 22:118].any()
    assert not changed[:30].any()


def test_detections_of_less_than_the_score_are_left_out(written: list[tuple[str, tuple[float, ...]]]) -> None:
    detections = found((20, 50, 120, 100), (60, 20, 90, 40), labels=[1, 0], scores=[0.5, 0.4])
    drawn = draw_detections(noise(200, 150), detections, CLASSES, 0.5)
    alone = found((20, 50, 120, 100), labels=[1], scores=[0.5])
    assert drawn == draw_detections(noise(200, 150), alone, CLASSES, 0.5)
    assert [text for text, _ in written] == ["dog 0.50"] * 2
    nothing = draw_detections(noise(200, 150), detections, CLASSES, 0.6)
    assert nothing == noise(200, 150)


def test_half_of_a_grey_image_shines_through_a_mask() -> None:
    image = Image.new("L", (200, 150), 100)
    detections = found((20, 50, 120, 100), (20, 50, 120, 100), labels=[0, 1], scores=[0.9, 0.8])
    masks = torch.zeros(2, 1, 150, 200, dtype=torch.bool)
    masks[0, 0, 70:90, 30:60] = True
    masks[1, 0, 70:90, 50:80] = True
    drawn = draw_detections(image, {**detections, "masks": masks}, CLASSES, 0.5)
    assert drawn.mode == "RGB"
    pixels = np.array(drawn, dtype=int)
    once = [50 + side // 2 for side in DOG]
    np.testing.assert_array_equal(pixels[70:90, 30:50], np.broadcast_to([50 + side // 2 for side in CAT], (20, 20, 3)))
    np.testing.assert_array_equal(pixels[70:90, 60:80], np.broadcast_to(once, (20, 20, 3)))
    # The better one lies over the other.
    both = [below // 2 + side // 2 for below, side in zip(once, CAT, strict=True)]
    np.testing.assert_array_equal(pixels[70:90, 50:60], np.broadcast_to(both, (20, 10, 3)))


def test_names_never_cover_one_another_nor_leave_the_image(written: list[tuple[str, tuple[float, ...]]]) -> None:
    """Of sixty objects in a heap the best are named."""
    random = np.random.default_rng(0)
    corners = np.sort(random.random((60, 2, 2)), axis=1).reshape(60, 4) * [400, 300, 400, 300]
    labels, scores = random.integers(0, 3, 60), np.sort(random.random(60))[::-1]
    draw_detections(
        noise(400, 300), found(*corners.tolist(), labels=labels.tolist(), scores=scores.tolist()), CLASSES, 0.0
    )
    names = ("cat", "dog", "the longest na\u2026of them")
    expected = [f"{names[label]} {score:.2f}" for label, score in zip(labels, scores, strict=True)]
    texts = [text for text, _ in written]
    assert texts[:5] == expected[:5]
    assert 15 < len(texts) < 60
    assert len(set(texts) - set(expected)) == 0
    for i, (_, (left, top, right, bottom)) in enumerate(written):
        assert min(left, top) >= 0
        assert right <= 400
        assert bottom <= 300
        for _, (x0, y0, x1, y1) in written[:i]:
            assert left >= x1 or right <= x0 or top >= y1 or bottom <= y0


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (1333, 800)])
def test_every_size_of_image_and_box_can_be_drawn(size: tuple[int, int]) -> None:
    width, height = size
    detections = found(
        (0, 0, width, height), (0, 0, 0, 0), (width, height, width, height), labels=[2, 1, 0], scores=[1.0] * 3
    )
    drawn = draw_detections(noise(*size), {**detections, "masks": torch.ones(3, 1, height, width)}, CLASSES, 0.5)
    assert drawn.size == ((480, 480) if size == (1, 1) else size)


def test_a_image_that_names_would_cover_is_enlarged(written: list[tuple[str, tuple[float, ...]]]) -> None:
    """96 pixels become 5 x 96: boxes and masks with them."""
    detections = found((20, 30, 60, 80), labels=[1], scores=[0.9])
    masks = torch.zeros(1, 1, 96, 96, dtype=torch.bool)
    masks[0, 0, 40:50, 30:40] = True
    image = Image.new("RGB", (96, 96), (100, 100, 100))
    drawn = np.array(draw_detections(image, {**detections, "masks": masks}, CLASSES, 0.5), dtype=int)
    assert drawn.shape == (480, 480, 3)
    assert (drawn[200:250, 150:200] == [50 + side // 2 for side in DOG]).all()
    assert (drawn[150, 100:300] == DOG).all()
    assert (drawn[260:390, 110:290] == 100).all()


def boxed(image: Image.Image, boxes: list[list[float]], title: str, masks: Tensor | None = None) -> Boxed:
    pixels = torch.from_numpy(np.array(image)).reshape(image.height, image.width, -1).permute(2, 0, 1) / 255
    count = len(boxes)
    return Boxed(pixels, torch.tensor(boxes).reshape(-1, 4), torch.ones(count, dtype=torch.int64), None, masks, title)


def test_small_images_are_enlarged_by_a_whole_factor(
    tmp_path: Path, written: list[tuple[str, tuple[float, ...]]]
) -> None:
    """Two rows of truth and prediction share a line; 100 pixels become 400."""
    small = noise(100, 80, channels=1)
    masks = torch.zeros(1, 80, 100, dtype=torch.uint8)
    row = [boxed(small, [[10.0, 30.0, 60.0, 70.0]], "truth", masks), boxed(small, [], "prediction")]
    draw_boxes([row, row], CLASSES, tmp_path / "sheet.png", "validation images")
    sheet = Image.open(tmp_path / "sheet.png")
    assert sheet.width == 4 * (400 + GAP) + GAP
    assert [text for text, _ in written].count("dog") == 2
    assert [text for text, _ in written if text != "dog"] == ["validation images", *["truth", "prediction"] * 2]
    left, top = GAP, sheet.height - GAP - 320
    enlarged = np.array(small).repeat(4, 0).repeat(4, 1)[..., None]
    prediction = np.array(sheet.crop((left + 400 + GAP, top, left + 800 + GAP, top + 320)))
    np.testing.assert_array_equal(prediction, np.broadcast_to(enlarged, prediction.shape))
    truth = np.array(sheet.crop((left, top, left + 400, top + 320)))
    assert (truth[120, 40:240] == DOG).all()
    assert (truth[279, 40:240] == DOG).all()
    assert (truth[122:278, 42:238] == enlarged[122:278, 42:238]).all()


def test_large_images_are_shrunk_with_their_boxes_and_masks(tmp_path: Path) -> None:
    large = Image.new("RGB", (960, 1920), "black")
    masks = torch.zeros(1, 1920, 960, dtype=torch.bool)
    masks[0, 960:1440, 480:720] = True
    draw_boxes([[boxed(large, [[400.0, 800.0, 800.0, 1600.0]], "", masks)]], CLASSES, tmp_path / "sheet.png", "")
    sheet = Image.open(tmp_path / "sheet.png")
    assert sheet.width == PANEL // 2 + 2 * GAP
    panel = np.array(sheet)[-GAP - PANEL : -GAP, GAP:-GAP]
    assert (panel[200, 100:200] == DOG).all()
    assert (panel[399, 100:200] == DOG).all()
    assert (panel[240:360, 120:180] == [side // 2 for side in DOG]).all()
    assert (panel[361:398, 102:198] == 0).all()

"""What is drawn over images, by their pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from twins.data.palette import class_colours
from twins.plots.boxes import Boxed, draw_boxes, draw_detections
from twins.plots.gallery import GAP, TALLEST, WIDTH
from twins.plots.object_marks import NAMED_OBJECTS
from twins.plots.outlines import MISTAKES

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


def tinted(below: float, *colours: list[int]) -> list[int]:
    """A channel's value each, under masks of these colours."""
    values = [below] * 3
    for colour in colours:
        values = [round(0.75 * value + 0.25 * side) for value, side in zip(values, colour, strict=True)]
    return [int(value) for value in values]


def test_masks_are_tinted_lightly_within_their_edges() -> None:
    image = Image.new("L", (200, 150), 100)
    detections = found((20, 50, 120, 100), (20, 50, 120, 100), labels=[0, 1], scores=[0.9, 0.8])
    masks = torch.zeros(2, 1, 150, 200, dtype=torch.bool)
    masks[0, 0, 70:90, 30:60] = True
    masks[1, 0, 70:90, 50:80] = True
    drawn = draw_detections(image, {**detections, "masks": masks}, CLASSES, 0.5)
    assert drawn.mode == "RGB"
    pixels = np.array(drawn, dtype=int)
    assert (pixels[71:89, 31:50] == tinted(100, CAT)).all()
    assert (pixels[71:89, 60:79] == tinted(100, DOG)).all()
    assert (pixels[71:89, 51:59] == tinted(100, DOG, CAT)).all()  # the better one lies over the other
    for edge in (pixels[70, 30:60], pixels[89, 30:60], pixels[70:90, 30], pixels[70:90, 59]):
        assert (edge == CAT).all()
    assert (pixels[70:90, 79] == DOG).all()
    assert (pixels[71:89, 50] == [round(0.75 * d + 0.25 * c) for d, c in zip(DOG, CAT, strict=True)]).all()
    assert (pixels[69, 30:80] == 100).all()


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
    assert 8 < len(texts) <= NAMED_OBJECTS
    assert set(texts) <= set(expected[:NAMED_OBJECTS])
    for i, (_, (left, top, right, bottom)) in enumerate(written):
        assert min(left, top) >= 0
        assert right <= 400
        assert bottom <= 300
        for _, (x0, y0, x1, y1) in written[:i]:
            assert left >= x1 or right <= x0 or top >= y1 or bottom <= y0


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (1333, 800)])
def test_every_size_of_image_and_box_can_be_drawn(size: tuple[int, int], tmp_path: Path) -> None:
    width, height = size
    detections = found(
        (0, 0, width, height), (0, 0, 0, 0), (width, height, width, height), labels=[2, 1, 0], scores=[1.0] * 3
    )
    drawn = draw_detections(noise(*size), {**detections, "masks": torch.ones(3, 1, height, width)}, CLASSES, 0.5)
    assert drawn.size == ((480, 480) if size == (1, 1) else size)
    draw_boxes([[boxed(noise(*size), [[0.0, 0.0, 1.0, 1.0]], "")]], CLASSES, tmp_path / "sheet.png", "")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert min(sheet.size) > 40


def test_a_image_that_names_would_cover_is_enlarged(written: list[tuple[str, tuple[float, ...]]]) -> None:
    """96 pixels become 5 x 96: boxes and masks with them."""
    detections = found((20, 30, 60, 80), labels=[1], scores=[0.9])
    masks = torch.zeros(1, 1, 96, 96, dtype=torch.bool)
    masks[0, 0, 40:50, 30:40] = True
    image = Image.new("RGB", (96, 96), (100, 100, 100))
    drawn = np.array(draw_detections(image, {**detections, "masks": masks}, CLASSES, 0.5), dtype=int)
    assert drawn.shape == (480, 480, 3)
    assert (drawn[201:249, 151:199] == tinted(100, DOG)).all()
    assert (drawn[150, 100:300] == DOG).all()
    assert (drawn[260:390, 110:290] == 100).all()


def boxed(image: Image.Image, boxes: list[list[float]], title: str, masks: Tensor | None = None) -> Boxed:
    labels = torch.ones(len(boxes), dtype=torch.int64)
    return Boxed(image, torch.tensor(boxes).reshape(-1, 4), labels, masks=masks, title=title)


def test_small_images_are_enlarged_to_fill_a_line(tmp_path: Path, written: list[tuple[str, tuple[float, ...]]]) -> None:
    """Two rows of truth and prediction share one; the objects of the two images are named, and so is their class."""
    small = Image.new("RGB", (100, 100), (10, 20, 30))
    masks = torch.zeros(1, 100, 100, dtype=torch.uint8)
    row = [boxed(small, [[10.0, 30.0, 60.0, 70.0]], "truth: 7.png", masks), boxed(small, [], "prediction: 7.png")]
    draw_boxes([row, row], CLASSES, tmp_path / "sheet.png", "validation images")
    sheet = Image.open(tmp_path / "sheet.png")
    side = round((WIDTH - 3 * GAP) / 4)
    assert abs(sheet.width - (WIDTH + 2 * GAP)) < 4
    texts = [text for text, _ in written]
    assert texts[0] == "validation images"
    assert texts[1:-1] == ["truth: 7.png", "dog", "prediction: 7.png"] * 2
    assert texts[-1] == "dog"  # the legend
    pixels = np.array(sheet)
    top = next(y for y in range(sheet.height) if (pixels[y, GAP : GAP + side] == (10, 20, 30)).all())
    prediction = pixels[top : top + side, 2 * GAP + side : 2 * GAP + 2 * side]
    assert (prediction == (10, 20, 30)).all()
    truth = pixels[top : top + side, GAP : GAP + side]
    at = [round(side * share / 100) for share in (10, 60, 30, 70)]
    dogs = np.argwhere((truth[at[2] :] == DOG).all(axis=2))
    assert np.abs(dogs.min(axis=0) - [0, at[0]]).max() <= 1
    assert np.abs(dogs.max(axis=0) - [at[3] - at[2], at[1]]).max() <= 1
    legend = pixels[top + side :]
    assert (legend == DOG).all(axis=2).sum() == 17 * 12


def test_large_images_are_shrunk_with_their_boxes_and_masks(tmp_path: Path) -> None:
    large = Image.new("RGB", (960, 1920), "black")
    masks = torch.zeros(1, 1920, 960, dtype=torch.bool)
    masks[0, 960:1440, 480:720] = True
    draw_boxes([[boxed(large, [[400.0, 800.0, 800.0, 1600.0]], "", masks)]], CLASSES, tmp_path / "sheet.png", "")
    pixels = np.array(Image.open(tmp_path / "sheet.png"))
    top = next(y for y in range(len(pixels)) if (pixels[y, GAP : GAP + 240] == 0).all())
    panel = pixels[top : top + TALLEST, GAP : GAP + 240]
    assert (panel[200, 100:200] == DOG).all()
    assert (panel[399, 100:200] == DOG).all()
    assert (panel[241:359, 121:179] == tinted(0, DOG)).all()
    assert (panel[361:398, 102:198] == 0).all()
    assert (pixels[top + TALLEST, GAP : GAP + 240] == 255).all()


def test_a_plot_of_nothing_has_its_headline(tmp_path: Path, written: list[tuple[str, tuple[float, ...]]]) -> None:
    draw_boxes([], CLASSES, tmp_path / "sheet.png", "no mistakes", MISTAKES)
    assert [text for text, _ in written] == ["no mistakes", "missed", "false", "confused"]


def test_texts_and_styles_of_their_own(tmp_path: Path, written: list[tuple[str, tuple[float, ...]]]) -> None:
    mine = boxed(noise(300, 300), [[10.0, 60.0, 90.0, 160.0]], "")
    mine = mine._replace(texts=["no dog"], styles=[MISTAKES["missed"]])
    draw_boxes([[mine]], CLASSES, tmp_path / "sheet.png", "", MISTAKES)
    assert [text for text, _ in written if text] == ["no dog", "missed", "false", "confused", "dog"]

"""Which images a segmenter gets most wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from twins.metrics.segmentation import SegmentationMetrics
from twins.metrics.segmentation_mistakes import ImageMistakes, WorstMasks, write_image_mistakes

CLASSES = ("road", "path", "tree")


def image(wrong: float, index: int) -> ImageMistakes:
    return ImageMistakes(wrong, index, 0, 1, 5)


def test_mistakes_of_an_image() -> None:
    metrics = SegmentationMetrics(3, torch.device("cpu"))
    truth = torch.tensor([[0, 0, 0, 255], [1, 1, 2, 2]])
    prediction = torch.tensor([[0, 1, 1, 0], [1, 0, 2, 2]])
    confusion = metrics.update(prediction, truth)
    assert confusion.tolist() == [[1, 2, 0], [1, 1, 0], [0, 0, 2]]
    metrics.update(prediction, truth)
    assert metrics.confusion.tolist() == (2 * confusion).tolist()
    found = ImageMistakes.of(7, confusion)
    assert found == (pytest.approx(100 * 3 / 7), 7, 0, 1, 2)
    assert found.describe(CLASSES) == "42.9 % of the pixels wrong, most often road taken for path"


def test_an_image_without_mistakes_and_one_without_labels() -> None:
    right = ImageMistakes.of(0, torch.diag(torch.tensor([3, 0, 4])))
    assert right == (0.0, 0, 0, 0, 0)
    assert right.describe(CLASSES) == "no pixel wrong"
    assert ImageMistakes.of(0, torch.zeros(3, 3, dtype=torch.int64)) == right


def test_the_worst_masks_are_kept() -> None:
    worst = WorstMasks(2)
    for index, wrong in enumerate([10.0, 30.0, 20.0, 40.0, 5.0]):
        worst.add(image(wrong, index), torch.full((2, 2), index))
    worst.add(ImageMistakes(0.0, 5, 0, 0, 0), torch.zeros(2, 2))
    worst.gather()
    assert [mistakes.image for mistakes, _ in worst.masks] == [3, 1]
    assert [mask.unique().tolist() for _, mask in worst.masks] == [[3], [1]]
    assert worst.masks[0][1].dtype == torch.uint8
    assert [mistakes.image for mistakes in worst.images] == [3, 1, 2, 0, 4, 5]


def test_images_without_mistakes_are_never_among_the_worst() -> None:
    worst = WorstMasks(2)
    worst.add(ImageMistakes(0.0, 0, 0, 0, 0), torch.zeros(2, 2))
    assert worst.masks == []


def test_the_table_of_images(tmp_path: Path) -> None:
    images = [image(12.345, 1), ImageMistakes(0.0, 0, 0, 0, 0)]
    write_image_mistakes(tmp_path / "mistakes.csv", images, "caf\udce9{}.png".format, CLASSES)
    lines = (tmp_path / "mistakes.csv").read_bytes().splitlines()
    assert lines == [b"file,wrong (%),truth,predicted,pixels", b"caf\xe91.png,12.35,road,path,5"]

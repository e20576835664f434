"""Figures of a segmenter against a case worked by hand, against torchmetrics, and summed over processes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from helpers.ranks import run_ranks
from twins.distributed.world import joined
from twins.metrics.classification import SegmentationFigures

CPU = torch.device("cpu")
NONE = 255


def counted(classes: int, *pictures: tuple[Tensor, Tensor]) -> SegmentationFigures:
    figures = SegmentationFigures(classes, CPU)
    for prediction, truth in pictures:
        figures.update(prediction, truth)
    return figures


def test_by_hand() -> None:
    truth = torch.tensor([[0, 0, 0, 1], [1, 1, NONE, NONE]], dtype=torch.uint8)
    prediction = torch.tensor([[0, 0, 1, 1], [0, 2, 2, 0]])
    figures = counted(4, (prediction, truth))
    assert figures.confusion.tolist() == [[2, 1, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert figures.confusion.dtype == torch.int64
    # Class 2 is in the prediction alone: it has an IoU, 0, but no accuracy. Class 3 is nowhere.
    iou, accuracy, pixels = (field.tolist() for field in figures.per_class())
    assert iou[:3] == pytest.approx([50.0, 25.0, 0.0])
    assert accuracy[:2] == pytest.approx([200 / 3, 100 / 3])
    assert [math.isnan(x) for x in iou] == [False, False, False, True]
    assert [math.isnan(x) for x in accuracy] == [False, False, True, True]
    assert pixels == [3, 3, 0, 0]
    assert dict(figures.figures()) == pytest.approx({"miou": 25.0, "macc": 50.0, "aacc": 50.0, "images": 1})


def noise(classes: int, pictures: int = 3, right: float = 0.6) -> list[tuple[Tensor, Tensor]]:
    """Pictures of several sizes, mostly right, with a tenth of the truth ignored."""
    drawn = []
    for i in range(pictures):
        truth = torch.randint(classes, (20 + i, 31 - i), dtype=torch.uint8)
        wrong = torch.randint(classes, truth.shape)
        prediction = torch.where(torch.rand(truth.shape) < right, truth.long(), wrong)
        drawn.append((prediction, truth.masked_fill(torch.rand(truth.shape) < 0.1, NONE)))
    return drawn


def without(classes: tuple[int, ...], of_truth: bool, of_prediction: bool) -> list[tuple[Tensor, Tensor]]:
    gone = torch.tensor(classes)
    return [
        (
            prediction.masked_fill(torch.isin(prediction, gone), 0) if of_prediction else prediction,
            truth.masked_fill(torch.isin(truth, gone.byte()), 0) if of_truth else truth,
        )
        for prediction, truth in noise(6)
    ]


def torchmetrics(classes: int, pictures: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
    rules = {"num_classes": classes, "ignore_index": NONE, "validate_args": False}
    metrics = {
        "miou": MulticlassJaccardIndex(average="macro", **rules),
        "macc": MulticlassAccuracy(average="macro", **rules),
        "aacc": MulticlassAccuracy(average="micro", **rules),
    }
    for prediction, truth in pictures:
        for metric in metrics.values():
            metric.update(prediction[None], truth[None].long())
    return {name: 100 * metric.compute().item() for name, metric in metrics.items()}


ALIKE = {
    "random": (6, lambda: noise(6)),
    "many classes": (150, lambda: noise(150)),
    "one class": (1, lambda: noise(1)),
    "all right": (4, lambda: noise(4, right=2.0)),
    "all wrong": (2, lambda: [(1 - t.long().clamp(max=1), t) for _, t in noise(2)]),
    "absent from both": (6, lambda: without((2, 5), of_truth=True, of_prediction=True)),
    "absent from prediction": (6, lambda: without((0, 3), of_truth=False, of_prediction=True)),
    "all but one pixel ignored": (3, lambda: [(torch.tensor([[0, 1]]), torch.tensor([[NONE, 1]]))]),
}


@pytest.mark.parametrize("case", ALIKE)
@pytest.mark.filterwarnings("ignore::UserWarning:torchmetrics")
def test_same_as_torchmetrics(case: str) -> None:
    classes, draw = ALIKE[case]
    pictures = draw()
    figures = dict(counted(classes, *pictures).figures())
    assert figures.pop("images") == len(pictures)
    assert figures == pytest.approx(torchmetrics(classes, pictures), rel=1e-5)


def test_class_absent_from_truth_alone_has_no_accuracy() -> None:
    """torchmetrics counts it as 0 %; here, as in the published figures, the mean is over classes of the truth."""
    pictures = without((2, 5), of_truth=True, of_prediction=False)
    ours, theirs = dict(counted(6, *pictures).figures()), torchmetrics(6, pictures)
    assert ours["macc"] == pytest.approx(theirs["macc"] * 6 / 4, rel=1e-5)
    assert (ours["miou"], ours["aacc"]) == pytest.approx((theirs["miou"], theirs["aacc"]), rel=1e-5)


def test_nothing_counted_is_zero() -> None:
    """torchmetrics answers NaN for the mean IoU of nothing."""
    ignored = (torch.zeros(4, 5, dtype=torch.long), torch.full((4, 5), NONE, dtype=torch.uint8))
    assert list(counted(3).figures()) == [("miou", 0.0), ("macc", 0.0), ("aacc", 0.0), ("images", 0)]
    figures = counted(3, ignored)
    assert list(figures.figures()) == [("miou", 0.0), ("macc", 0.0), ("aacc", 0.0), ("images", 1)]
    assert figures.per_class().iou.isnan().all()
    assert figures.per_class().accuracy.isnan().all()
    assert math.isnan(torchmetrics(3, [ignored])["miou"])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_every_integer_type_counts_alike(dtype: torch.dtype) -> None:
    pictures = noise(150)
    expected = counted(150, *pictures).confusion
    assert expected.sum() == sum((truth != NONE).sum() for _, truth in pictures)
    assert torch.equal(counted(150, *[(p.to(dtype), t.to(dtype)) for p, t in pictures]).confusion, expected)


def test_one_process_is_all_there_is() -> None:
    figures = counted(6, *noise(6))
    before = dict(figures.figures())
    figures.reduce()
    assert dict(figures.figures()) == before


def sum_confusions(folder: Path) -> None:
    with joined("cpu") as world:
        figures = SegmentationFigures(2, world.device)
        for _ in range(world.rank + 1):
            figures.update(torch.tensor([[0, 1]]), torch.tensor([[0, 0]]))
        figures.confusion[1, 1] = 2**53 + world.rank  # beyond what floats count
        figures.reduce()
        seen = figures.confusion.tolist(), dict(figures.figures())["images"]
        (folder / f"{world.rank}.json").write_text(json.dumps(seen))


def test_sums_over_processes_are_exact(tmp_path: Path) -> None:
    run_ranks(2, sum_confusions, tmp_path)
    for rank in range(2):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == [[[3, 3], [0, 2**54 + 1]], 3]


@pytest.mark.gpu
def test_gpu_counts_the_same() -> None:
    figures = SegmentationFigures(150, torch.device("cuda"))
    pictures = noise(150)
    for prediction, truth in pictures:
        figures.update(prediction.cuda(), truth)
    figures.reduce()
    assert torch.equal(figures.confusion, counted(150, *pictures).confusion)

"""Metrics of a segmenter against a case worked by hand, against torchmetrics, and summed over processes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from helpers.ranks import run_ranks
from twins.distributed.world import init_distributed
from twins.metrics.segmentation import SegmentationMetrics

CPU = torch.device("cpu")
NONE = 255


def counted(classes: int, *images: tuple[Tensor, Tensor]) -> SegmentationMetrics:
    metrics = SegmentationMetrics(classes, CPU)
    for prediction, truth in images:
        metrics.update(prediction, truth)
    return metrics


def test_by_hand() -> None:
    truth = torch.tensor([[0, 0, 0, 1], [1, 1, NONE, NONE]], dtype=torch.uint8)
    prediction = torch.tensor([[0, 0, 1, 1], [0, 2, 2, 0]])
    metrics = counted(4, (prediction, truth))
    assert metrics.confusion.tolist() == [[2, 1, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert metrics.confusion.dtype == torch.int64
    # Class 2 is in the prediction alone: it has an IoU, 0, but no accuracy. Class 3 is nowhere.
    iou, accuracy, pixels = (field.tolist() for field in metrics.per_class())
    assert iou[:3] == pytest.approx([50.0, 25.0, 0.0])
    assert accuracy[:2] == pytest.approx([200 / 3, 100 / 3])
    assert [math.isnan(x) for x in iou] == [False, False, False, True]
    assert [math.isnan(x) for x in accuracy] == [False, False, True, True]
    assert pixels == [3, 3, 0, 0]
    assert dict(metrics.compute()) == pytest.approx({"miou": 25.0, "macc": 50.0, "aacc": 50.0, "images": 1})


def noise(classes: int, images: int = 3, right: float = 0.6) -> list[tuple[Tensor, Tensor]]:
    """Images of several sizes, mostly right, with a tenth of the truth ignored."""
    drawn = []
    for i in range(images):
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


def torchmetrics(classes: int, images: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
    rules = {"num_classes": classes, "ignore_index": NONE, "validate_args": False}
    metrics = {
        "miou": MulticlassJaccardIndex(average="macro", **rules),
        "macc": MulticlassAccuracy(average="macro", **rules),
        "aacc": MulticlassAccuracy(average="micro", **rules),
    }
    for prediction, truth in images:
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
    images = draw()
    metrics = dict(counted(classes, *images).compute())
    assert metrics.pop("images") == len(images)
    assert metrics == pytest.approx(torchmetrics(classes, images), rel=1e-5)


def test_class_absent_from_truth_alone_has_no_accuracy() -> None:
    """torchmetrics counts it as 0 %; here, as in the published metrics, the mean is over classes of the truth."""
    images = without((2, 5), of_truth=True, of_prediction=False)
    ours, theirs = dict(counted(6, *images).compute()), torchmetrics(6, images)
    assert ours["macc"] == pytest.approx(theirs["macc"] * 6 / 4, rel=1e-5)
    assert (ours["miou"], ours["aacc"]) == pytest.approx((theirs["miou"], theirs["aacc"]), rel=1e-5)


def test_nothing_counted_is_zero() -> None:
    """torchmetrics returns NaN for the mean IoU of nothing."""
    ignored = (torch.zeros(4, 5, dtype=torch.long), torch.full((4, 5), NONE, dtype=torch.uint8))
    assert list(counted(3).compute()) == [("miou", 0.0), ("macc", 0.0), ("aacc", 0.0), ("images", 0)]
    metrics = counted(3, ignored)
    assert list(metrics.compute()) == [("miou", 0.0), ("macc", 0.0), ("aacc", 0.0), ("images", 1)]
    assert metrics.per_class().iou.isnan().all()
    assert metrics.per_class().accuracy.isnan().all()
    assert math.isnan(torchmetrics(3, [ignored])["miou"])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_every_integer_type_counts_alike(dtype: torch.dtype) -> None:
    images = noise(150)
    expected = counted(150, *images).confusion
    assert expected.sum() == sum((truth != NONE).sum() for _, truth in images)
    assert torch.equal(counted(150, *[(p.to(dtype), t.to(dtype)) for p, t in images]).confusion, expected)


def test_one_process_is_all_there_is() -> None:
    metrics = counted(6, *noise(6))
    before = dict(metrics.compute())
    metrics.reduce()
    assert dict(metrics.compute()) == before


def sum_confusions(folder: Path) -> None:
    with init_distributed("cpu") as world:
        metrics = SegmentationMetrics(2, world.device)
        for _ in range(world.rank + 1):
            metrics.update(torch.tensor([[0, 1]]), torch.tensor([[0, 0]]))
        metrics.confusion[1, 1] = 2**53 + world.rank  # beyond what floats count
        metrics.reduce()
        seen = metrics.confusion.tolist(), dict(metrics.compute())["images"]
        (folder / f"{world.rank}.json").write_text(json.dumps(seen))


def test_sums_over_processes_are_exact(tmp_path: Path) -> None:
    run_ranks(2, sum_confusions, tmp_path)
    for rank in range(2):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == [[[3, 3], [0, 2**54 + 1]], 3]


@pytest.mark.gpu
def test_gpu_counts_the_same() -> None:
    metrics = SegmentationMetrics(150, torch.device("cuda"))
    images = noise(150)
    for prediction, truth in images:
        metrics.update(prediction.cuda(), truth)
    metrics.reduce()
    assert torch.equal(metrics.confusion, counted(150, *images).confusion)

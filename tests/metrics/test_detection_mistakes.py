"""What a detector finds, misses and confuses: cases worked by hand and, on random sets, pycocotools' own matches."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from twins.data.boxes.dataset import BoxedImages, Objects
from twins.metrics.coco_format import CocoDetections
from twins.metrics.detection import DetectionMetrics
from twins.metrics.detection_matching import box_iou, match_detections
from twins.metrics.detection_mistakes import (
    CONFUSED,
    FALSE,
    MISSED,
    Mistake,
    confusion_with_background,
    find_mistakes,
    worst_first,
    write_mistakes,
)
from twins.metrics.score_thresholds import ScoreThresholds, threshold_curve

CAT, DOG, BIRD = range(3)
CLASSES = ("cat", "dog", "bird")
HERE, NEAR, THERE, FAR = (10, 10, 20, 20), (10, 10, 20, 16), (60, 60, 20, 40), (120, 10, 10, 10)  # x, y, width, height


def objects_at(*objects: tuple[tuple[float, ...], int], crowd: tuple[bool, ...] = ()) -> Objects:
    boxes = np.array([box for box, _ in objects], dtype=np.float64).reshape(-1, 4)
    labels = np.array([label for _, label in objects], dtype=np.int64)
    crowds = np.array(crowd or [False] * len(objects), dtype=bool)
    return Objects(boxes, labels, crowds, boxes[:, 2] * boxes[:, 3], (None,) * len(objects))


def detections_at(*detections: tuple[tuple[float, ...], int, float]) -> CocoDetections:
    boxes = np.array([box for box, _, _ in detections], dtype=np.float64).reshape(-1, 4)
    scores = np.array([score for _, _, score in detections], dtype=np.float64)
    labels = np.array([label for _, label, _ in detections], dtype=np.int64)
    return CocoDetections(boxes, scores, labels, [], 0, 0)


def mistakes_of(detections: CocoDetections, objects: Objects, min_score: float = 0.1) -> list[Mistake]:
    return find_mistakes(5, detections, objects, match_detections(detections, objects), min_score)


def kinds(mistakes: list[Mistake]) -> list[tuple[str, int | None, int | None, float | None]]:
    return [(m.kind, m.truth, m.predicted, m.score) for m in mistakes]


def test_iou_by_hand() -> None:
    boxes = np.array([HERE, NEAR, (20, 20, 20, 20), (0, 0, 0, 0)], dtype=np.float64)
    others = boxes[[0, 2, 3]]
    np.testing.assert_allclose(
        box_iou(boxes, others, np.zeros(3, dtype=bool)), [[1, 1 / 7, 0], [0.8, 60 / 660, 0], [1 / 7, 1, 0], [0, 0, 0]]
    )
    crowds = box_iou(boxes, others, np.ones(3, dtype=bool))
    np.testing.assert_allclose(crowds, [[1, 1 / 4, 0], [1, 60 / 320, 0], [1 / 4, 1, 0], [0, 0, 0]])


def test_the_best_detection_finds_an_object_and_a_second_one_is_false() -> None:
    objects = objects_at((HERE, CAT), (THERE, DOG))
    found = detections_at((NEAR, CAT, 0.6), (HERE, CAT, 0.5), (THERE, DOG, 0.9))
    assert match_detections(found, objects).found.tolist() == [0, -1, 1]
    assert mistakes_of(found, objects) == [Mistake(5, FALSE, None, CAT, 0.5, 1.0, (10, 10, 30, 30))]


def test_right_box_and_wrong_class() -> None:
    """The surer of two takes the object; what a detection of the right class finds is confused with nothing."""
    objects = objects_at((HERE, CAT), (THERE, DOG))
    found = detections_at((NEAR, BIRD, 0.6), (HERE, DOG, 0.8), (THERE, DOG, 0.7), (THERE, CAT, 0.9))
    assert mistakes_of(found, objects) == [
        Mistake(5, FALSE, None, CAT, 0.9, 1.0, (60, 60, 80, 100)),
        Mistake(5, CONFUSED, CAT, DOG, 0.8, 1.0, (10, 10, 30, 30)),
        Mistake(5, FALSE, None, BIRD, 0.6, 0.8, (10, 10, 30, 26)),
    ]


def test_scores_that_do_not_count() -> None:
    """What finds an object at a score too low is told with the object that is missed; others are no mistakes."""
    objects = objects_at((HERE, CAT), (THERE, DOG))
    found = detections_at((HERE, CAT, 0.3), (FAR, CAT, 0.2), (FAR, BIRD, 0.4))
    assert mistakes_of(found, objects, 0.3) == [
        Mistake(5, FALSE, None, BIRD, 0.4, 0.0, (120, 10, 130, 20)),
        Mistake(5, MISSED, CAT, None, 0.3, 0.0, (10, 10, 30, 30)),
        Mistake(5, MISSED, DOG, None, None, 0.0, (60, 60, 80, 100)),
    ]
    below = mistakes_of(found, objects, 0.29)
    assert kinds(below) == [(FALSE, None, BIRD, 0.4), (MISSED, DOG, None, None)]


def test_crowds_count_neither_way() -> None:
    """One of its own class in a crowd is ignored, one of another is false; nobody has to find a crowd."""
    objects = objects_at(((0, 0, 100, 100), CAT), (HERE, CAT), crowd=(True, False))
    found = detections_at((HERE, CAT, 0.9), (HERE, CAT, 0.8), (THERE, CAT, 0.7), (THERE, DOG, 0.6))
    matches = match_detections(found, objects)
    assert matches.found.tolist() == [1, -1, -1, -1]
    assert matches.ignored.tolist() == [False, True, True, False]
    assert kinds(mistakes_of(found, objects)) == [(FALSE, None, DOG, 0.6)]


def test_images_without_objects_or_detections() -> None:
    none = objects_at()
    assert kinds(mistakes_of(detections_at((HERE, CAT, 0.9)), none)) == [(FALSE, None, CAT, 0.9)]
    assert mistakes_of(detections_at(), none) == []
    assert kinds(mistakes_of(detections_at(), objects_at((HERE, BIRD)))) == [(MISSED, BIRD, None, None)]


@pytest.mark.parametrize("seed", range(4))
def test_matches_are_those_of_pycocotools(seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Boxes on a coarse grid and scores of one digit, so that there are many ties."""
    random = np.random.default_rng(seed)

    def boxes(count: int) -> list[tuple[float, ...]]:
        return [tuple(map(float, random.integers((0, 0, 1, 1), (8, 8, 9, 9)))) for _ in range(count)]

    labels = random.integers(0, 2, 40).tolist()
    objects = objects_at(*zip(boxes(12), labels[:12], strict=True), crowd=tuple((random.random(12) < 0.2).tolist()))
    scores = (random.integers(0, 10, 28) / 10).tolist()
    found = detections_at(*zip(boxes(28), labels[12:], scores, strict=True))
    ours = match_detections(found, objects)
    evaluation = COCOeval(*coco_of(objects, found), "bbox")
    evaluation.params.iouThrs = np.array([0.5])
    evaluation.evaluate()
    capsys.readouterr()
    for result in evaluation.evalImgs[: 2 * 4 : 4]:  # of each class, all areas
        for position, match, ignored in zip(
            result["dtIds"], result["dtMatches"][0], result["dtIgnore"][0], strict=True
        ):
            assert ours.found[position - 1] == (-1 if ignored else match - 1)
            assert ours.ignored[position - 1] == ignored


def coco_of(objects: Objects, found: CocoDetections) -> tuple[COCO, COCO]:
    """The same for pycocotools."""

    def annotation(i: int, box: Any, label: Any, **more: Any) -> dict[str, Any]:
        area = float(box[2] * box[3])
        return {"id": i + 1, "image_id": 1, "category_id": int(label), "bbox": box.tolist(), "area": area, **more}

    truth, detected = COCO(), COCO()
    for coco, its_own in (
        (truth, [annotation(i, box, label, iscrowd=int(crowd)) for i, (box, label, crowd) in
                 enumerate(zip(objects.boxes, objects.labels, objects.crowd, strict=True))]),
        (detected, [annotation(i, box, label, score=float(score), iscrowd=0) for i, (box, label, score) in
                    enumerate(zip(found.boxes, found.labels, found.scores, strict=True))]),
    ):  # fmt: skip
        categories = [{"id": 0}, {"id": 1}]
        coco.dataset = {"images": [{"id": 1}], "categories": categories, "annotations": its_own}
        coco.createIndex()
    return truth, detected


def test_confusion_has_a_row_and_a_column_for_the_background() -> None:
    objects = objects_at((HERE, CAT), (THERE, DOG), (FAR, DOG))
    found = detections_at((HERE, BIRD, 0.9), (THERE, DOG, 0.8), ((200, 0, 9, 9), CAT, 0.7))
    confusion = confusion_with_background(mistakes_of(found, objects), torch.tensor([1, 2, 0]))
    assert confusion.tolist() == [
        [0, 0, 1, 0],  # the cat is taken for a bird
        [0, 1, 0, 1],  # one dog is found, one missed
        [0, 0, 0, 0],
        [1, 0, 0, 0],  # a cat where there is nothing
    ]


def test_the_worst_come_first(tmp_path: Path) -> None:
    box, large = (0.0, 0.0, 2.0, 2.0), (0.0, 0.0, 9.0, 9.04)
    mistakes = [
        Mistake(0, FALSE, None, CAT, 0.5, 0.25, box),
        Mistake(1, MISSED, DOG, None, 0.3, 0.4, box),
        Mistake(0, MISSED, DOG, None, None, 0, box),
        Mistake(1, MISSED, BIRD, None, None, 0, large),
        Mistake(1, CONFUSED, CAT, DOG, 0.9, 0.75, box),
    ]
    in_order = worst_first(mistakes)
    assert [mistakes.index(m) for m in in_order] == [3, 2, 4, 1, 0]
    write_mistakes(tmp_path / "mistakes.csv", in_order, "image {}.jpg".format, CLASSES)
    with (tmp_path / "mistakes.csv").open(newline="") as file:
        rows = [",".join(row) for row in csv.reader(file)]
    assert rows == [
        "file,kind,class,predicted,score,IoU,x0,y0,x1,y1",
        "image 1.jpg,missed,bird,,,0.000,0.0,0.0,9.0,9.0",
        "image 0.jpg,missed,dog,,,0.000,0.0,0.0,2.0,2.0",
        "image 1.jpg,confused,cat,dog,0.90000,0.750,0.0,0.0,2.0,2.0",
        "image 1.jpg,missed,dog,,0.30000,0.400,0.0,0.0,2.0,2.0",
        "image 0.jpg,false,,cat,0.50000,0.250,0.0,0.0,2.0,2.0",
    ]


def at(curve: ScoreThresholds, threshold: float) -> tuple[float, float, float]:
    i = curve.threshold.tolist().index(threshold)
    return curve.precision[i], curve.recall[i], curve.f1[i]


def test_thresholds_by_hand() -> None:
    """Two of three objects are found, at 0.8 and 0.3; 0.5 is false, and one in a crowd counts neither way."""
    first = detections_at((HERE, CAT, 0.8), (FAR, DOG, 0.5)), objects_at((HERE, CAT), (THERE, CAT))
    second = (
        detections_at((HERE, CAT, 0.3), ((0, 0, 9, 9), DOG, 0.95)),
        objects_at((HERE, CAT), ((0, 0, 9, 9), DOG), crowd=(False, True)),
    )
    images = [(found, objects, match_detections(found, objects)) for found, objects in (first, second)]
    curve = threshold_curve(images, 0.05)
    assert curve is not None
    assert curve.threshold[[0, -1]].tolist() == [0.05, 1.0]
    assert at(curve, 0.05) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert at(curve, 0.29) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert at(curve, 0.3) == pytest.approx((1 / 2, 1 / 3, 0.4))  # a score counts above the threshold
    assert at(curve, 0.5) == pytest.approx((1, 1 / 3, 0.5))
    assert at(curve, 0.8) == (1, 0, 0)
    assert curve.threshold[curve.best] == 0.17  # in the middle from 0.05 to 0.29


def test_thresholds_without_objects() -> None:
    found, objects = detections_at((HERE, CAT, 0.5)), objects_at((HERE, CAT), crowd=(True,))
    assert threshold_curve([(found, objects, match_detections(found, objects))], 0.05) is None
    assert threshold_curve([], 0.05) is None
    nothing = objects_at((HERE, CAT))
    curve = threshold_curve([(detections_at(), nothing, match_detections(detections_at(), nothing))], 1.0)
    assert curve is not None
    assert at(curve, 1.0) == (1, 0, 0)


def test_metrics_take_detections_anew() -> None:
    """What is known of matches is forgotten with the detections that it followed from."""
    truth = BoxedImages(
        images=[Path(f"{i}.png") for i in range(3)], objects=[objects_at((HERE, CAT))] * 3, sizes=[(200, 200)] * 3,
        image_ids=[1, 2, 3], classes=CLASSES, category_ids=(1, 2, 3), has_masks=False,
    )  # fmt: skip
    metrics = DetectionMetrics(truth, masks=False)
    corners = torch.tensor([[10.0, 10.0, 30.0, 30.0]])
    cat = {"boxes": corners, "labels": torch.tensor([CAT]), "scores": torch.tensor([0.5])}
    metrics.update(1, {name: values[:0] for name, values in cat.items()})
    metrics.update(0, cat)
    assert kinds(metrics.mistakes(0.25)) == [(MISSED, CAT, None, None)]  # of the image that nobody saw none
    assert [m.image for m in metrics.mistakes(0.5)] == [0, 1]
    metrics.update(1, cat)
    metrics.reduce()
    assert metrics.mistakes(0.25) == []
    curve = metrics.score_thresholds(0.05)
    assert curve is not None
    assert curve.f1[curve.best] == 1

"""Metrics of a detector against cases worked by hand and, on random sets, against pycocotools."""

from __future__ import annotations

import copy
import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from twins.data.boxes.dataset import BoxedImages, Objects
from twins.data.boxes.segmentations import Segmentation
from twins.metrics import detection as coco_metrics
from twins.metrics.detection import AVERAGES, DetectionMetrics

Detections = dict[str, Tensor]
Random = np.random.Generator

WIDTH, HEIGHT = 190, 170  # room for an object of more than 96² pixels, which is large
NAMES = [*AVERAGES, *(f"mask_{name}" for name in AVERAGES), "images"]


def boxed_images(*objects: Objects, classes: int = 2) -> BoxedImages:
    """Image ids fall, categories have gaps."""
    count = len(objects)
    return BoxedImages(
        images=[Path(f"{i}.png") for i in range(count)],
        objects=objects,
        sizes=[(HEIGHT, WIDTH)] * count,
        image_ids=[10**12 * (count - 1 - i) for i in range(count)],
        classes=tuple(f"class {i}" for i in range(classes)),
        category_ids=tuple(3 + 7 * i for i in range(classes)),
        has_masks=True,
    )


def objects_at(
    boxes: Any, labels: Any, crowd: Any = False, segmentations: tuple[Segmentation | None, ...] = ()
) -> Objects:
    """Boxes are x, y, width, height; without `segmentations` those of objects that are no crowds fill them."""
    boxes = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    crowd = np.broadcast_to(np.array(crowd, dtype=bool), len(boxes))
    filled = (None if c else filling(box) for box, c in zip(boxes, crowd, strict=True))
    areas = 0.8 * boxes[:, 2] * boxes[:, 3]
    return Objects(boxes, np.array(labels, dtype=np.int64), crowd, areas, segmentations or tuple(filled))


def filling(box: np.ndarray) -> Segmentation:
    x, y, width, height = box
    return [np.array([x, y, x, y + height, x + width, y + height, x + width, y])]


def detections_at(boxes: Any, labels: Any, scores: Any) -> Detections:
    """Boxes are x0, y0, x1, y1; masks fill them."""
    boxes = torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    rows, columns = torch.arange(HEIGHT)[:, None], torch.arange(WIDTH)
    x0, y0, x1, y1 = boxes.round()[:, :, None, None, None].unbind(1)
    return {
        "boxes": boxes,
        "labels": torch.as_tensor(labels, dtype=torch.int64),
        "scores": torch.as_tensor(scores, dtype=torch.float32),
        "masks": (y0 <= rows) & (rows < y1) & (x0 <= columns) & (columns < x1),
    }


def counted(truth: BoxedImages, found: dict[int, Detections], masks: bool = True) -> DetectionMetrics:
    metrics = DetectionMetrics(truth, masks)
    for index, detections in found.items():
        metrics.update(index, detections)
    return metrics


NOTHING = detections_at([], [], [])


# One class, one image. Two objects, of which the better detection finds one and the other none.
HALF_FOUND = objects_at([[10, 10, 20, 20], [80, 80, 20, 20]], [0, 0])
ONE_RIGHT = detections_at([[10, 10, 30, 30], [120, 10, 140, 30]], [0, 0], [0.9, 0.8])


def test_by_hand() -> None:
    """Precision is 1 up to a recall of a half, at 51 of 101 points, at every overlap; the areas are small."""
    metrics = dict(counted(boxed_images(HALF_FOUND), {0: ONE_RIGHT}).compute())
    assert list(metrics) == NAMES
    half = pytest.approx(100 * 51 / 101)
    expected = [half, half, half, half, -1, -1, 50, 50, 50, 50, -1, -1]
    assert list(metrics.values()) == [*expected, *expected, 1]


def test_classes_by_hand() -> None:
    """Class 0 as above, class 1 found with an overlap of 0.8, class 2 a crowd, class 3 nowhere in the truth."""
    others = objects_at([[10, 10, 20, 20], [60, 60, 40, 40]], [1, 2], crowd=[False, True])
    truth = boxed_images(HALF_FOUND, others, classes=4)
    loose = detections_at([[10, 10, 30, 26], [5, 5, 9, 9]], [1, 3], [0.5, 0.4])
    ap, ap50, objects, mask_ap = counted(truth, {0: ONE_RIGHT, 1: loose}).per_class()
    assert mask_ap is not None
    for precision in (ap, mask_ap):
        assert precision[:2].tolist() == pytest.approx([100 * 51 / 101, 70])  # 0.5, 0.55 ... 0.8
        assert precision[2:].isnan().all()
    assert ap50[:2].tolist() == pytest.approx([100 * 51 / 101, 100])
    assert objects.tolist() == [2, 1, 0, 0]


def test_without_masks_there_are_only_metrics_of_boxes() -> None:
    boxes_alone = {name: value for name, value in ONE_RIGHT.items() if name != "masks"}
    truth = boxed_images(HALF_FOUND)
    metrics = counted(truth, {0: boxes_alone}, masks=False)
    with_masks = dict(counted(truth, {0: ONE_RIGHT}).compute())
    assert dict(metrics.compute()) == {name: with_masks[name] for name in (*AVERAGES, "images")}
    assert metrics.per_class().mask_ap is None
    assert metrics.results()[0].keys() == {"image_id", "category_id", "bbox", "score"}


def test_images_that_nobody_looked_at_are_left_out() -> None:
    metrics = counted(boxed_images(HALF_FOUND, objects_at([[0, 0, 50, 50]], [0])), {0: ONE_RIGHT})
    assert dict(metrics.compute())["ar100"] == 50
    assert dict(metrics.compute())["images"] == 1
    assert metrics.per_class().objects.tolist() == [2, 0]
    metrics.update(1, NOTHING)
    assert dict(metrics.compute())["ar100"] == pytest.approx(100 / 3)
    assert metrics.per_class().objects.tolist() == [3, 0]


def test_masks_of_an_object_without_a_segmentation_count_neither_way() -> None:
    """Its box is looked for as any other; a mask in it is neither right nor wrong, and to miss it costs nothing."""
    boxes = [[10, 10, 20, 20], [80, 80, 20, 20]]
    truth = boxed_images(objects_at(boxes, [0, 0], segmentations=(filling(np.array(boxes[0])), None)))
    both = detections_at([[80, 80, 100, 100], [10, 10, 30, 30]], [0, 0], [0.9, 0.8])
    one = {name: values[1:] for name, values in both.items()}
    for found, ap in ((both, 100), (one, 100 * 51 / 101)):
        metrics = dict(counted(truth, {0: found}).compute())
        assert (metrics["ap"], metrics["mask_ap"]) == (pytest.approx(ap), pytest.approx(100))


def test_a_crowd_takes_any_number_of_detections() -> None:
    """Without a segmentation it fills its box, for masks too; what it takes counts neither for nor against."""
    truth = boxed_images(objects_at([[10, 10, 20, 20], [50, 50, 60, 60]], [0, 0], crowd=[False, True]))
    inside = [[50 + 10 * i, 50, 58 + 10 * i, 100] for i in range(6)]
    detections = detections_at([*inside, [10, 10, 30, 30]], [0] * 7, [0.9] * 6 + [0.1])
    metrics = dict(counted(truth, {0: detections}).compute())
    assert metrics["ap"] == metrics["mask_ap"] == pytest.approx(100)


def test_nothing_found_is_zero_and_nothing_to_find_is_minus_one() -> None:
    nothing_there = boxed_images(objects_at([], []), objects_at([], []))
    for metrics in (
        counted(nothing_there, {}),
        counted(nothing_there, {0: NOTHING}),
        counted(nothing_there, {0: ONE_RIGHT, 1: NOTHING}),
    ):
        assert {value for name, value in metrics.compute() if name != "images"} == {-1.0}
        assert metrics.per_class().ap.isnan().all()
    metrics = counted(boxed_images(HALF_FOUND), {0: NOTHING})
    assert {value for name, value in metrics.compute() if not name.endswith(("images", "medium", "large"))} == {0.0}
    assert metrics.per_class().ap[0] == 0
    assert metrics.results() == []


def random_set(seed: int, images: int = 14, classes: int = 4) -> tuple[BoxedImages, dict[int, Detections]]:
    """A truth in which the last class never occurs, and detections that mostly lie near it, in random order."""
    random = np.random.default_rng(seed)
    objects = [random_objects(random, number, classes - 1) for number in (0, *random.integers(0, 9, images - 1))]
    numbers = (0, 0, 400, *random.integers(1, 50, images - 3))
    found = [random_detections(random, o, n, classes) for o, n in zip(objects, numbers, strict=True)]
    return boxed_images(*objects, classes=classes), {int(i): found[i] for i in random.permutation(images)}


def random_objects(random: Random, number: int, classes: int) -> Objects:
    """Of all three ranges of areas, some of no area, some of them crowds, segmented in every format there is."""
    sides = np.exp(random.uniform(np.log(4), np.log(160), (number, 2)))
    boxes = np.hstack([random.random((number, 2)) * ([WIDTH, HEIGHT] - sides), sides])
    boxes[random.random(number) < 0.05, 2:] = 0
    crowd = random.random(number) < 0.2
    segmentations = tuple(random_segmentation(random, box, alone) for box, alone in zip(boxes, ~crowd, strict=True))
    return objects_at(boxes, random.integers(0, classes, number), crowd, segmentations)


def random_segmentation(random: Random, box: np.ndarray, alone: bool) -> Segmentation | None:
    x, y, width, height = box
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8, order="F")
    mask[int(y) : math.ceil(y + height), int(x) : math.ceil(x + width)] = 1
    code = coco_mask.encode(mask)
    kinds: list[Segmentation | None] = [
        (polygon(random, x, y, width, height),),
        (polygon(random, x, y, width / 2, height), polygon(random, x + width / 2, y, width / 2, height)),
        code,
        {"size": code["size"], "counts": code["counts"].decode()},
        {"size": code["size"], "counts": runs(mask)},
        *([] if alone else [None]),
    ]
    return kinds[random.integers(len(kinds))]


def polygon(random: Random, x: float, y: float, width: float, height: float) -> np.ndarray:
    angles = np.sort(random.uniform(0, 2 * np.pi, 7))
    return np.stack([x + width * (1 + np.cos(angles)) / 2, y + height * (1 + np.sin(angles)) / 2], axis=1).ravel()


def runs(mask: np.ndarray) -> list[int]:
    """Lengths of 0, 1, 0 ... down the columns, as COCO counts them before it compresses them."""
    pixels = np.concatenate([[0], mask.ravel(order="F")])
    starts = np.flatnonzero(np.diff(pixels))
    return np.diff([0, *starts, mask.size]).tolist()


def random_detections(random: Random, objects: Objects, number: int, classes: int) -> Detections:
    """Four in five near an object of the image if it has any, many of equal score, masks with holes."""
    corners = np.sort(random.random((number, 2, 2)), axis=1).reshape(-1, 4) * [WIDTH, HEIGHT, WIDTH, HEIGHT]
    labels = random.integers(0, classes, number)
    if len(objects):
        near = random.random(number) < 0.8
        which = random.integers(0, len(objects), number)[near]
        boxes = objects.boxes[which]
        boxes = boxes + random.normal(0, 0.06, boxes.shape) * boxes[:, [2, 3, 2, 3]]
        corners[near] = np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])
        labels[near] = np.where(random.random(len(which)) < 0.9, objects.labels[which], labels[near])
    scores = np.sort(random.integers(1, 15, number) / 15)[::-1].copy()
    detections = detections_at(corners, labels, scores)
    detections["masks"] &= torch.from_numpy(random.random((HEIGHT, WIDTH)) < 0.9)
    return detections


def pycocotools(truth: BoxedImages, found: dict[int, Detections], kind: str) -> COCOeval:
    """Its evaluation of the same, by annotations and results as files would have them."""
    annotations = [
        {
            "id": 1000 * index + i + 1,
            "image_id": truth.image_ids[index],
            "category_id": truth.category_ids[objects.labels[i]],
            "bbox": objects.boxes[i].tolist(),
            "area": objects.areas[i],
            "iscrowd": int(objects.crowd[i]),
            "segmentation": as_annotated(objects.segmentations[i], objects.boxes[i]),
        }
        for index, objects in enumerate(truth.objects)
        for i in range(len(objects))
    ]
    results = [
        {
            "image_id": truth.image_ids[index],
            "category_id": truth.category_ids[label],
            "score": score,
            **({"bbox": [x0, y0, x1 - x0, y1 - y0]} if kind == "bbox" else {"segmentation": encoded(mask)}),
        }
        for index, detections in found.items()
        for (x0, y0, x1, y1), score, label, mask in zip(
            detections["boxes"].tolist(),
            detections["scores"].tolist(),
            detections["labels"].tolist(),
            detections["masks"],
            strict=True,
        )
    ]
    annotated = COCO()
    annotated.dataset = {
        "images": [{"id": i, "width": WIDTH, "height": HEIGHT} for i in truth.image_ids],
        "categories": [{"id": i} for i in truth.category_ids],
        "annotations": annotations,
    }
    annotated.createIndex()
    evaluation = COCOeval(annotated, annotated.loadRes(results), kind)
    evaluation.params.imgIds = [truth.image_ids[index] for index in found]
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation


def encoded(mask: Tensor) -> dict[str, Any]:
    """(1, H, W) in COCO's compressed code, by pycocotools."""
    return coco_mask.encode(np.asfortranarray(mask[0].numpy().astype(np.uint8)))


def as_annotated(segmentation: Segmentation | None, box: np.ndarray) -> Any:
    if segmentation is None:
        return coco_mask.frPyObjects(box[None], HEIGHT, WIDTH)[0]
    return dict(segmentation) if isinstance(segmentation, dict) else [polygon.tolist() for polygon in segmentation]


def test_random_sets_have_all_that_the_rules_tell_apart() -> None:
    truth, found = random_set(0)
    objects = [o for o in truth.objects if len(o)]
    crowd = np.concatenate([o.crowd for o in objects])
    areas = np.concatenate([o.areas for o in objects])
    kinds = [type(o["counts"] if isinstance(o, dict) else o) for each in objects for o in each.segmentations]
    assert len(objects) < len(truth)
    assert 0 < crowd.sum() < len(crowd)
    assert [(areas == 0).any(), (areas < 32**2).any(), (areas > 96**2).any()] == [True, True, True]
    assert set(kinds) == {tuple, bytes, str, list, type(None)}
    numbers = torch.stack([d["labels"].bincount(minlength=4) for d in found.values()])
    assert (numbers.sum(1) == 0).any()
    assert numbers.max() > 100
    assert numbers[:, 3].any()
    assert any(len(d["scores"].unique()) < len(d["scores"]) for d in found.values())
    assert min(dict(counted(truth, found).compute()).values()) > 0


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 6))])
def test_same_as_pycocotools(seed: int) -> None:
    """Recalls to the last bit, precisions but for the rounding of their quotients; all images, or but two of them."""
    truth, found = random_set(seed)
    if seed % 2:
        found = {index: found[index] for index in list(found)[2:]}
    metrics = counted(truth, found)
    values = np.array([value for name, value in metrics.compute() if name != "images"]).reshape(2, 2, 6)
    per_class = metrics.per_class()
    for kind, (precisions, recalls), ours in zip(
        ("bbox", "segm"), values, (per_class.ap, per_class.mask_ap), strict=True
    ):
        evaluation = pycocotools(truth, found, kind)
        theirs = np.where(evaluation.stats < 0, -1, 100 * evaluation.stats)
        np.testing.assert_allclose(precisions, theirs[:6], rtol=0, atol=1e-12)
        assert recalls.tolist() == theirs[6:].tolist()
        precision = 100 * evaluation.eval["precision"][:, :, :, 0, -1].mean(axis=(0, 1))
        np.testing.assert_allclose(ours, np.where(precision < 0, np.nan, precision), rtol=0, atol=1e-12)


def test_the_truth_and_what_was_found_stay_as_they_are(capfd: pytest.CaptureFixture[str]) -> None:
    truth, found = random_set(1)
    before = copy.deepcopy(truth.objects)
    metrics = counted(truth, found)
    first = dict(metrics.compute())
    results = copy.deepcopy(metrics.results())
    metrics.reduce()  # one process is all there is; what was evaluated is forgotten
    assert dict(metrics.compute()) == first
    assert metrics.results() == results
    for objects, untouched in zip(truth.objects, before, strict=True):
        np.testing.assert_equal(tuple(objects), tuple(untouched))
    assert capfd.readouterr() == ("", "")


def test_what_is_kept_lies_in_its_own_memory() -> None:
    truth, found = random_set(2)
    kept = counted(truth, found).detections.values()
    assert all(array.flags.owndata for one in kept for array in (one.boxes, one.scores, one.labels))


def test_results_are_in_cocos_format() -> None:
    truth = boxed_images(HALF_FOUND, objects_at([], []))
    first = detections_at([[10.12345, 20, 30.5, 29.75]], [0], [0.123456789])
    second = detections_at([[1, 2, 5, 9], [0, 0, 3, 1]], [1, 0], [1.0, 0.25])
    results = json.loads(json.dumps(counted(truth, {1: second, 0: first}).results()))
    codes = [result.pop("segmentation") for result in results]
    assert results == [
        {"image_id": 10**12, "category_id": 3, "bbox": [10.123, 20, 20.377, 9.75], "score": 0.12346},
        {"image_id": 0, "category_id": 10, "bbox": [1, 2, 4, 7], "score": 1.0},
        {"image_id": 0, "category_id": 3, "bbox": [0, 0, 3, 1], "score": 0.25},
    ]
    masks = torch.cat([first["masks"], second["masks"]])
    assert [code["counts"] for code in codes] == [encoded(mask)["counts"].decode() for mask in masks]
    assert {tuple(code["size"]) for code in codes} == {(HEIGHT, WIDTH)}


def test_several_processes_count_each_image_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three ranks, of which the last got an image that the first had; what they send is pickled on its way."""
    truth, found = random_set(3)
    alone = counted(truth, found)
    shares = [list(found)[rank::3] for rank in range(3)]
    shares[2].append(shares[0][0])
    ranks = [counted(truth, {index: found[index] for index in share}) for share in shares]
    sent = [pickle.dumps(rank.detections) for rank in ranks]
    monkeypatch.setattr(coco_metrics, "all_gather_object", lambda _: [pickle.loads(share) for share in sent])  # noqa: S301
    for rank in ranks:
        list(rank.compute())  # of its own share, which must not stay
        rank.reduce()
        assert list(rank.compute()) == list(alone.compute())
        assert rank.results() == alone.results()


@pytest.mark.gpu
def test_gpu_counts_the_same() -> None:
    truth, found = random_set(4)
    moved = {index: {name: value.cuda() for name, value in one.items()} for index, one in found.items()}
    assert counted(truth, moved).results() == counted(truth, found).results()

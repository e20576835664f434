"""Average precision and recall of a detector, as COCO counts them, exact over any number of processes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..data.boxes.dataset import BoxedImages, Objects
from ..data.boxes.segmentations import Segmentation
from ..distributed.collectives import all_gather_object
from ..optional_dependencies import need
from .coco_format import CocoDetections
from .detection_matching import Matches, match_detections
from .detection_mistakes import Mistake, find_mistakes
from .score_thresholds import ScoreThresholds, threshold_curve

# COCO's averages in its own order: recall is of the best 1, 10 and 100 detections of an image and class.
AVERAGES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large",
            "ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large")  # fmt: skip


class PerClassMetrics(NamedTuple):
    """(classes,) a field; float64 ones are in per cent, NaN where a metric is not defined."""

    ap: Tensor  # float64, of boxes
    ap50: Tensor  # float64, of boxes
    objects: Tensor  # int64, of the truth, crowds left out
    mask_ap: Tensor | None  # float64


class DetectionMetrics:
    """Average precision and recall of a detector's boxes, and of its masks if asked for.

    With detections in order of falling score, one is a true positive if its IoU with an object of its class that none
    before it has matched is at least a threshold. AP is the mean of the precision at 101 recalls from 0 to 1, over the
    thresholds 0.5, 0.55 ... 0.95 and over classes; AR that of the largest recall. The metrics are those of pycocotools,
    computed by faster_coco_eval, which agrees with it and is faster. For masks an object without a segmentation is as a
    crowd that fills its box: detections inside count neither way.

    `truth` are the annotated images. Those that were not given to `update` are left out: what could not be read is not
    held against the detector. Raises TwinsError where faster_coco_eval is not installed.
    """

    def __init__(self, truth: BoxedImages, masks: bool) -> None:
        self.truth = truth
        self.masks = masks
        self.detections: dict[int, CocoDetections] = {}  # by the image's index in the truth
        self._coco = need("faster_coco_eval", extra="detect")
        self._evaluations: dict[str, _Evaluation] = {}  # of the detections so far
        self._matches: dict[int, Matches] = {}  # of the detections so far, by the image's index

    def update(self, index: int, detections: dict[str, Tensor]) -> None:
        """Count image number `index` of the truth.

        Detections are `boxes` (N, 4) x0, y0, x1, y1 in pixels, `scores` (N,), `labels` (N,) and, for masks, `masks`
        (N, 1, H, W) bool, which cover the image. Of equal scores the first is judged first.
        """
        self.detections[index] = CocoDetections.of(detections, self.masks)
        self._forget()

    def reduce(self) -> None:
        """Gather the detections of all ranks, each of which must call this; an image that several had counts once."""
        self.detections = {
            index: of_image for share in all_gather_object(self.detections) for index, of_image in share.items()
        }
        self._forget()

    def compute(self) -> Iterator[tuple[str, float]]:
        """COCO's twelve averages of boxes, then those of masks, in per cent; -1 where the truth has no such objects."""
        for prefix, kind in (("", "bbox"), ("mask_", "segm")) if self.masks else (("", "bbox"),):
            for name, share in zip(AVERAGES, self._evaluation(kind).averages, strict=True):
                yield prefix + name, 100 * share if share >= 0 else -1.0
        yield "images", len(self.detections)

    def per_class(self) -> PerClassMetrics:
        """Precision is undefined for a class of which the truth has no object but crowds."""
        precision = self._evaluation("bbox").precision
        objects = torch.zeros(len(self.truth.classes), dtype=torch.int64)
        for _, labels, crowd, *_ in (self.truth.objects[index] for index in self.detections):
            objects += torch.from_numpy(labels[~crowd]).bincount(minlength=len(objects))
        return PerClassMetrics(
            ap=_over_recalls(precision),
            ap50=_over_recalls(precision[:1]),
            objects=objects,
            mask_ap=_over_recalls(self._evaluation("segm").precision) if self.masks else None,
        )

    def results(self) -> list[dict[str, Any]]:
        """All detections in COCO's format for results, image by image in the order of the truth.

        pycocotools takes an object's area from `bbox` where a result has it: to judge masks, leave `bbox` out.
        """
        return [
            result
            for index, detections in sorted(self.detections.items())
            for result in detections.results(self.truth.image_ids[index], self.truth.category_ids)
        ]

    def score_thresholds(self, lowest: float) -> ScoreThresholds | None:
        """Precision and recall of the boxes at an IoU of 0.5; `lowest` is the score above which there are detections.

        None where the truth has no object but crowds.
        """
        return threshold_curve(self._matched(), lowest)

    def mistakes(self, min_score: float) -> list[Mistake]:
        """Of the boxes with a score above `min_score`, image by image."""
        return [
            mistake
            for index, (detections, objects, matches) in zip(sorted(self.detections), self._matched(), strict=True)
            for mistake in find_mistakes(index, detections, objects, matches, min_score)
        ]

    def _matched(self) -> Iterator[tuple[CocoDetections, Objects, Matches]]:
        """Each image, in the order of the truth."""
        for index, detections in sorted(self.detections.items()):
            objects = self.truth.objects[index]
            if index not in self._matches:
                self._matches[index] = match_detections(detections, objects)
            yield detections, objects, self._matches[index]

    def _forget(self) -> None:
        """What followed from other detections."""
        self._evaluations.clear()
        self._matches.clear()

    def _evaluation(self, kind: str) -> _Evaluation:
        """`kind` is in COCO's words: bbox or segm."""
        if kind not in self._evaluations:
            self._evaluations[kind] = self._evaluate(kind)
        return self._evaluations[kind]

    def _evaluate(self, kind: str) -> _Evaluation:
        images = [
            {"id": self.truth.image_ids[index], "height": detections.height, "width": detections.width}
            for index, detections in self.detections.items()
        ]
        categories = [{"id": label} for label in range(len(self.truth.classes))]
        truth, detections = (
            self._coco.COCO({"images": images, "categories": categories, "annotations": list(annotations)})
            for annotations in (self._objects(kind), self._detections(kind))
        )
        evaluation = self._coco.COCOeval_faster(truth, detections, kind, print_function=lambda *_: None)
        evaluation.run()
        all_areas, most_detections = 0, -1
        averages = evaluation.stats[: len(AVERAGES)].tolist()
        return _Evaluation(averages, evaluation.eval["precision"][..., all_areas, most_detections])

    def _objects(self, kind: str) -> Iterator[dict[str, Any]]:
        """The truth of all images seen, as annotations."""
        ids = count(1)  # in a match COCO takes 0 for nothing
        for index in self.detections:
            for box, label, crowd, area, segmentation in zip(*self.truth.objects[index], strict=True):
                annotation = {
                    "id": next(ids),
                    "image_id": self.truth.image_ids[index],
                    "category_id": int(label),
                    "bbox": box.tolist(),
                    "area": float(area),
                    "iscrowd": int(crowd),
                }
                if kind == "segm":
                    annotation["segmentation"] = _in_coco_format(segmentation, box)
                    annotation["iscrowd"] = int(crowd or segmentation is None)
                yield annotation

    def _detections(self, kind: str) -> Iterator[dict[str, Any]]:
        """All detections as annotations; their areas are those of the boxes or of the masks, whichever are judged."""
        ids = count(1)
        for index, detections in self.detections.items():
            boxes, masks = detections.boxes, detections.masks
            areas = boxes[:, 2] * boxes[:, 3] if kind == "bbox" else self._coco.mask.area(masks)
            for i in range(len(boxes)):
                annotation = {
                    "id": next(ids),
                    "image_id": self.truth.image_ids[index],
                    "category_id": int(detections.labels[i]),
                    "bbox": boxes[i].tolist(),
                    "area": float(areas[i]),
                    "score": float(detections.scores[i]),
                }
                if kind == "segm":
                    annotation["segmentation"] = dict(masks[i])
                yield annotation


class _Evaluation(NamedTuple):
    """What is kept of COCO's evaluation, from 0 to 1; -1 where the truth has no such objects."""

    averages: list[float]  # as AVERAGES names them
    precision: np.ndarray  # (10, 101, classes): at IoU thresholds from 0.5 to 0.95, at recalls from 0 to 1


def _over_recalls(precision: np.ndarray) -> Tensor:
    """(classes,) in per cent, the mean over IoU thresholds and recalls; NaN where the truth has no object."""
    means = torch.from_numpy(precision.mean(axis=(0, 1)))
    return torch.where(means < 0, torch.nan, 100 * means)


def _in_coco_format(segmentation: Segmentation | None, box: np.ndarray) -> Any:
    """A segmentation as COCO's files have it; without one the whole box."""
    if segmentation is None:
        x, y, width, height = box.tolist()
        return [[x, y, x, y + height, x + width, y + height, x + width, y]]
    return dict(segmentation) if isinstance(segmentation, dict) else [polygon.tolist() for polygon in segmentation]

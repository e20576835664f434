"""Detection: a box, a class and perhaps a mask for each object."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.transforms.functional import pil_to_tensor

from ..data.boxes.survey import look_through, survey_boxes
from ..data.boxes.transforms import BoxPreprocessing, box_eval_transform, box_train_transform
from ..data.class_names import check_classes
from ..data.classify.layouts import BoxedImages, open_boxed
from ..data.loading import Batch, PicturesAsTensors
from ..data.palette import object_colours
from ..data.statistics import HELD_OUT, TRAINING, Survey, evenly, oddities
from ..distributed.world import gather
from ..errors import TwinsError
from ..heads.detection import DETECTORS, SURE, Detector
from ..metrics.detection import DetectionFigures
from ..plots import masks as report
from ..plots.boxes import Boxed, draw_boxes
from ..recipes import DetectRecipe
from ..training.run_folder import Run
from ..zoo import model_name

SHOWN = 8  # held-out pictures whose detections are drawn, always the same ones
MASK_RCNN_ALONE = {"box_channels", "masks", "proposals", "rpn_samples", "box_samples"}  # settings


class Detection:
    """A recipe made into data, network, losses and figures."""

    columns: tuple[tuple[str, str, int], ...] = (("ap", "AP", 1), ("ap50", "AP50", 1))
    pictures: tuple[str, ...] = ("detections.png", "ap.png", "train_batch.png")

    def __init__(self, recipe: DetectRecipe, classes: tuple[str, ...] = ()) -> None:
        self.recipe = recipe
        self.preprocessing = BoxPreprocessing.of(recipe)
        self.classes = classes
        self.masks = recipe.detector == "mask_rcnn" and recipe.model_kwargs.get("masks", True)
        self.notes: list[str] = []

    def datasets(self, evaluation_only: bool = False) -> tuple[PicturesAsTensors | None, PicturesAsTensors]:
        """(training, held out) tensors; also looks through the annotations and settles the classes."""
        parts = self._open(evaluation_only)
        if self.recipe.check:
            self._look_through(parts)
        without = [part for part, images in parts.items() if not images.has_masks]
        if self.masks and without:
            lacking = f"objects without an outline ({' and '.join(without)})"
            if "masks" in self.recipe.model_kwargs:
                raise TwinsError(f"{self.recipe.data}: {lacking}: leave masks=true out, or outline them all")
            self.notes.append(f"{lacking}: boxes alone")
            self.masks = False
        if self.masks:
            self.columns = (*self.columns, ("mask_ap", "mask AP", 1))
        tensors = {part: self._tensors(images, training=part == TRAINING) for part, images in parts.items()}
        self.training, self.held_out = tensors.get(TRAINING), tensors[HELD_OUT]
        self.truth = parts[HELD_OUT]
        self.category_ids = next(iter(parts.values())).category_ids
        return self.training, self.held_out

    def survey(self) -> Survey:
        """What a look through all annotations finds."""
        return survey_boxes(self._open(), self.recipe)

    def build(self) -> Detector:
        """The network for the data's classes, with the recipe's weights if it names any."""
        r = self.recipe
        return DETECTORS[r.detector](
            r.model,
            **self._network(),
            **self.preprocessing.of_network(),
            score_thresh=r.conf,
            nms_thresh=r.iou,
            detections_per_img=r.max_det,
            drop_path_rate=r.drop_path,
            drop_rate=r.drop,
            weights=r.weights,
        )

    def mix(self, batch: Batch, *key: int) -> Batch:
        """Nothing: objects are not mixed."""
        return batch

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """What the heads are wrong by. Pictures have the size that augmentation gave them."""
        return model([image.float() / 255 for image in batch.images], batch.labels, resize=False)

    @torch.inference_mode()
    def evaluate(self, model: nn.Module, batches: Iterable[Batch]) -> Iterator[tuple[str, float]]:
        """COCO's figures, the average precision of boxes first; every picture once over all ranks."""
        self.figures = DetectionFigures(self.truth, self.masks)
        self.answers: dict[int, dict[str, Tensor]] = {}
        shown = set(evenly(len(self.held_out), SHOWN))
        for batch in batches:
            for image, place in zip(batch.images, batch.indices, strict=True):
                found = model([image.float() / 255])[0]
                self.figures.update(place, found)
                if place in shown:
                    sure = found["scores"] >= SURE
                    self.answers[place] = {name: values[sure].cpu() for name, values in found.items()}
        self.figures.reduce()
        self.answers = {place: answer for share in gather(self.answers) for place, answer in share.items()}
        yield from self.figures.figures()

    def draw_samples(self, path: Path) -> None:
        """Some training pictures with their objects, as they are on disk."""
        assert self.training is not None
        samples = self.training.samples(SHOWN)
        rows = [[_boxed(pil_to_tensor(picture), target)] for picture, target in samples]
        draw_boxes(rows, self.classes, path, self.recipe.data)

    def draw_batch(self, batch: Batch, run: Run) -> None:
        """The first training batch, as the network gets it."""
        rows = [
            [_boxed(image.cpu(), {name: values.cpu() for name, values in target.items()})]
            for image, target in zip(batch.images[:SHOWN], batch.labels[:SHOWN], strict=True)
        ]
        draw_boxes(rows, self.classes, run / "train_batch.png", "first training batch, augmented")

    def draw(self, run: Run) -> None:
        """Of the last evaluation: detections beside the truth, and the classes' figures as bars and as a table."""
        rows = []
        for place, answer in sorted(self.answers.items()):
            picture, target = self.truth.read(place, self.recipe.in_chans)
            pixels = pil_to_tensor(picture)
            rows.append([_boxed(pixels, target, "truth"), _boxed(pixels, answer, "detected")])
        if rows:
            headline = f"held-out pictures: truth, and what was detected with a score of {SURE} or more"
            draw_boxes(rows, self.classes, run / "detections.png", headline)
        figures = self.figures.per_class()
        mean = dict(self.figures.figures())["ap"]
        colours = object_colours(len(self.classes))
        title = f"AP of each class (%), mean {mean:.1f}"
        report.draw_class_bars(figures.ap, self.classes, colours, run / "ap.png", title)
        columns = {"objects": figures.objects, "AP": figures.ap, "AP50": figures.ap50}
        if figures.mask_ap is not None:
            columns["mask AP"] = figures.mask_ap
        table = [
            (
                name,
                *("" if math.isnan(value) else f"{value:.2f}" if isinstance(value, float) else value for value in row),
            )
            for name, *row in zip(self.classes, *(values.tolist() for values in columns.values()), strict=True)
        ]
        run.write_table("per_class.csv", ("class", *columns), table)

    def meta(self) -> dict[str, Any]:
        """What a checkpoint tells of itself, so that evaluation and prediction need nothing else."""
        return {
            "task": self.recipe.task,
            "name": model_name(self.recipe.model),
            "detector": self.recipe.detector,
            "create_model": self._network(),
            "classes": list(self.classes),
            "category_ids": list(self.category_ids),
            "preprocessing": self.preprocessing.to_dict(),
        }

    def _network(self) -> dict[str, Any]:
        """The keywords that decide which weights the network has."""
        r = self.recipe
        settings = {
            "num_classes": len(self.classes),
            "in_chans": r.in_chans,
            "window_padding": r.window_padding,
            **r.model_kwargs,
        }
        if r.detector == "mask_rcnn":
            return {**settings, "masks": self.masks}
        return {name: value for name, value in settings.items() if name not in MASK_RCNN_ALONE}

    def _open(self, evaluation_only: bool = False) -> dict[str, BoxedImages]:
        """The parts of the data. Raises TwinsError where they name other classes than those that are known."""
        train, val = open_boxed(self.recipe, evaluation_only)
        parts = {HELD_OUT: val} if train is None or evaluation_only else {TRAINING: train, HELD_OUT: val}
        self.classes = self.classes or val.classes
        check_classes(val.classes, self.classes, self.recipe.data)
        return parts

    def _look_through(self, parts: dict[str, BoxedImages]) -> None:
        """Note what is odd. Raises TwinsError for what makes training impossible."""
        self.notes += oddities(look_through(parts, self.recipe))

    def _tensors(self, images: BoxedImages, training: bool) -> PicturesAsTensors:
        r = self.recipe
        transform = box_train_transform(r) if training else box_eval_transform
        if not (training and self.masks):  # figures count from the annotations themselves
            images = images.boxes_alone()
        return PicturesAsTensors(images, transform, r.in_chans, r.seed, training)


def _boxed(picture: Tensor, objects: dict[str, Tensor], title: str = "") -> Boxed:
    """(C, H, W) bytes and a target, or detections, to be drawn."""
    masks = objects.get("masks")
    if masks is not None and masks.ndim == 4:  # of detections, as torchvision has them
        masks = masks[:, 0]
    return Boxed(picture / 255, objects["boxes"], objects["labels"], objects.get("scores"), masks, title)

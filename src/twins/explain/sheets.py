"""`twins predict --explain`: a sheet an image of what its prediction rests on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ..atomic_write import atomic_file
from ..data.annotation_errors import FEW, a_few
from ..data.images import size_of, width_x_height
from ..heads.detection.detector import Detector
from ..heads.segmentation import Segmenter
from ..plots.heat_maps import HeatMap, draw_heat_maps
from ..plots.lettering import shortened
from ..predict import ImageFile, Predictor
from ..predict.predictors import SegmentPredictor
from ..predict.sources import output_names
from ..predict.writers import many
from ..preprocessing import Size
from .attention import attention_maps
from .attention_overlays import attention_map, last_two_of_each_stage, last_with_a_choice, rollout_map
from .cam import CamPass, resized_to_image
from .question import Question
from .scores import Pixel
from .subjects import Subject, classifier_subjects, detector_subjects, segmenter_subjects
from .views import View, view_of

NAME = 50  # letters of a file's name in a headline
FINE = 4  # cells along a side of a map, below which a heat map says little
TITLES = {"gradcam": "Grad-CAM", "layercam": "LayerCAM"}


class SheetWriter:
    """`NAME.png` for each image: heat maps of its prediction, and what blocks of every stage attend to from one pixel.

    The pixel is the one that is asked for, or else where the first heat map is highest. A `Writer` of predictions.
    Raises TwinsError, before it writes anything, as `Question.check`.
    """

    def __init__(self, predictor: Predictor[Any], files: Sequence[ImageFile], folder: Path, question: Question) -> None:
        question.check(predictor, files)
        self.predictor, self.files, self.folder, self.question = predictor, files, folder, question
        self.label = None if question.class_name is None else predictor.classes.index(question.class_name)
        self.names = output_names(files, lambda name: ".png")
        self.drawn = 0
        self.coarsest: Size | None = None  # of the maps that a CAM was of
        self.left_out: list[str] = []

    def add(self, index: int, image: Image.Image, prediction: Any) -> None:
        """Draw the sheet of an image, unless there is nothing in it to be explained."""
        name = self.files[index].name
        view = view_of(self.predictor, image)
        at = None
        if self.question.at is not None:
            at = view.pixel_at(self.question.at[1], self.question.at[0], size_of(image))
            if at is None:
                self.left_out.append(f"{name} (the pixel is outside of the crop that the network sees)")
                return
        rows, point = self._attention(view, at) if self.question.kind == "attention" else self._cams(view, at)
        if not rows:
            self.left_out.append(f"{name} ({self._nothing()})")
            return
        titles = ("the network's input", f"{width_x_height(view.network_size)} pixels")
        with atomic_file(self.folder / self.names[index], fsync=False) as path:
            draw_heat_maps(view.shown, titles, rows, point, path, f"{shortened(str(name), NAME)}: {prediction}")
        self.drawn += 1

    def finish(self) -> None:
        """Nothing: each sheet is whole."""

    def summary(self) -> str:
        """How many were drawn, and of which images there is none and why."""
        parts = [f"{many(self.drawn, 'explanation')} in {self.folder}"]
        if self.left_out:
            few = a_few(self.left_out[:FEW], len(self.left_out), "; ")
            parts.append(f"none of {many(len(self.left_out), 'image')}: {few}")
        if self.coarsest is not None and min(self.coarsest) < FINE and self.question.stage != 0:
            parts.append(
                f"{TITLES[self.question.kind]} saw {width_x_height(self.coarsest)} cells of so small an image: "
                "an earlier --explain-stage (0, 1 ...) has more"
            )
        if isinstance(self.predictor, SegmentPredictor) and self.predictor.slide is not None:
            parts.append("each explains the network's output for the whole image, not for windows of --slide")
        return "; ".join(parts)

    def _attention(self, view: View, at: Pixel | None) -> tuple[list[list[HeatMap]], Pixel]:
        """Rollout, and two blocks of each stage; and the pixel from which they look."""
        maps = attention_maps(self.predictor.model, view.images)
        of_all = rollout_map(maps, view, "to the mean of all tokens")
        point = _highest([of_all], view) if at is None else at
        first = [of_all, rollout_map(maps, view, "to the token at the cross", point)]
        blocks = last_two_of_each_stage(maps)
        return [first, *([attention_map(block, view, point) for block in row] for row in blocks)], point

    def _cams(self, view: View, at: Pixel | None) -> tuple[list[list[HeatMap]], Pixel]:
        """What speaks for each subject, and the last block of each stage; no rows if there is nothing to explain."""
        passed = CamPass(self.predictor.model, view.images, self.question.stage)
        with torch.enable_grad():
            subjects = self._subjects(passed.outputs, at)
        if not subjects:
            return [], (0, 0)
        cells = (passed.map_BHWC.shape[1], passed.map_BHWC.shape[2])
        self.coarsest = min(self.coarsest or cells, cells, key=min)
        cams = [self._cam(passed, subject, view) for subject in subjects]
        point = _highest(cams, view) if at is None else at
        last = last_with_a_choice(attention_maps(self.predictor.model, view.images))
        return [cams, [attention_map(block, view, point) for block in last]], point

    def _subjects(self, outputs: Any, at: Pixel | None) -> list[Subject]:
        classes = self.predictor.classes
        if isinstance(self.predictor.model, Detector):
            return detector_subjects(outputs[0], classes, self.label, at)
        if isinstance(self.predictor.model, Segmenter):
            return segmenter_subjects(outputs, classes, self.label, at)
        return classifier_subjects(outputs, classes, self.label)

    def _cam(self, passed: CamPass, subject: Subject, view: View) -> HeatMap:
        heat = passed.heat(subject.score, self.question.kind)
        if isinstance(self.predictor.model, Detector):
            heat = resized_to_image(heat, self.predictor.model, (view.shown.shape[1], view.shown.shape[2]))
        method = f"{TITLES[self.question.kind]}, stage {passed.stage}" + ("" if heat.any() else ": zero")
        return HeatMap((subject.title, method), heat[0].cpu(), box=subject.box, region=subject.region)

    def _nothing(self) -> str:
        """Why there is nothing to explain."""
        what = "nothing" if self.question.class_name is None else f"no {self.question.class_name}"
        return f"{what} predicted" + ("" if self.question.at is None else " there")


def _highest(heat_maps: Sequence[HeatMap], view: View) -> Pixel:
    """The pixel in the middle of the largest value of the first map that is not all zero, or else of the image."""
    for heat_map in heat_maps:
        if heat_map.heat.any():
            row, column = divmod(int(heat_map.heat.argmax()), heat_map.heat.shape[1])
            return int((row + 0.5) * heat_map.cell[0]), int((column + 0.5) * heat_map.cell[1])
    return view.shown.shape[1] // 2, view.shown.shape[2] // 2

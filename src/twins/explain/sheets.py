"""`twins predict --explain`: a sheet an image of what its prediction rests on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image

from ..atomic_write import atomic_file
from ..data.annotation_errors import FEW, a_few
from ..data.images import UnreadableImageError, read_header, size_of, width_x_height
from ..errors import TwinsError, nearest
from ..heads.detection.detector import Detector
from ..heads.segmentation import Segmenter
from ..plots.heat_maps import COLUMNS, HeatMap, draw_heat_maps
from ..predict import ImageFile, Predictor
from ..predict.predictors import SegmentPredictor
from ..predict.sources import output_names
from ..predict.writers import many
from ..preprocessing import Size
from .attention import AttentionMaps, attention_maps
from .block_attention import BlockAttention
from .cam import METHODS, CamPass, resized_to_image
from .observed import stages_of
from .scores import Pixel
from .subjects import Subject, classifier_subjects, detector_subjects, segmenter_subjects
from .views import View, view_of

KINDS = (*METHODS, "attention")
FINE = 4  # cells along a side of a map, below which a heat map says little
TITLES = {"gradcam": "Grad-CAM", "layercam": "LayerCAM"}


class Question(NamedTuple):
    """What is to be explained, and how."""

    kind: str = "gradcam"  # of KINDS
    class_name: str | None = None  # the class to explain; None: what is predicted
    at: tuple[int, int] | None = None  # X, Y: a pixel of the upright image as it came
    stage: int = -1  # whose map Grad-CAM and LayerCAM take, from 0; -1 is the last

    def check(self, predictor: Predictor[Any], files: Sequence[ImageFile]) -> None:
        """Raises TwinsError for what this network has no answer to, and for a pixel outside one of the images."""
        stages = len(stages_of(predictor.model).blocks)
        if not -stages <= self.stage < stages:
            raise TwinsError(f"--explain-stage must lie in 0..{stages - 1}, or be -1 for the last, not {self.stage}")
        if self.class_name is not None:
            if self.kind == "attention":
                raise TwinsError("--explain-class is for gradcam and layercam: attention is of no class; leave it out")
            if self.class_name not in predictor.classes:
                hint = nearest(self.class_name, predictor.classes)
                known = f"none of the {len(predictor.classes)} classes of {predictor.info.source}"
                raise TwinsError(f"--explain-class {self.class_name!r} is {known}{hint}")
        if self.at is not None:
            for file in files:
                self._check_pixel(file, predictor)

    def _check_pixel(self, file: ImageFile, predictor: Predictor[Any]) -> None:
        assert self.at is not None
        try:
            height, width = read_header(file.path, predictor.reading).size
        except UnreadableImageError:
            return  # which prediction will say, or skip
        if not (0 <= self.at[0] < width and 0 <= self.at[1] < height):
            raise TwinsError(
                f"--explain-at {self.at[0]},{self.at[1]} lies outside {file.path}, {width_x_height((height, width))}: "
                f"X must be in 0..{width - 1}, Y in 0..{height - 1}"
            )


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
        view = view_of(self.predictor, image)
        at = None
        if self.question.at is not None:
            column, row = self.question.at
            at = view.pixel_at(row, column, size_of(image))
            if at is None:
                self.left_out.append(
                    f"{self.files[index].name} (the pixel is outside of the crop that the network sees)"
                )
                return
        maps = attention_maps(self.predictor.model, view.images)
        if self.question.kind == "attention":
            first = [_rollout(maps, view, "to the mean of all tokens")]
            point = _highest(first, view) if at is None else at
            first.append(_rollout(maps, view, "to the token at the cross", point))
            blocks = _last_two_of_each_stage(maps)
        else:
            first = self._cams(view, at)
            if not first:
                self.left_out.append(f"{self.files[index].name} ({self._nothing()})")
                return
            point = _highest(first, view) if at is None else at
            blocks = _last_two_of_each_stage(maps)[-1:]
        rows = [first, *([_from_pixel(block, view, point) for block in row] for row in blocks)]
        titles = ("the network's input", f"{width_x_height(view.network_size)} pixels")
        with atomic_file(self.folder / self.names[index], fsync=False) as path:
            draw_heat_maps(view.shown, titles, rows, point, path, f"{self.files[index].name}: {prediction}")
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

    def _cams(self, view: View, at: Pixel | None) -> list[HeatMap]:
        """The heat maps of what is explained; empty if there is nothing."""
        passed = CamPass(self.predictor.model, view.images, self.question.stage)
        with torch.enable_grad():
            subjects = self._subjects(passed.outputs, at)
        if subjects:
            cells = (passed.map_BHWC.shape[1], passed.map_BHWC.shape[2])
            self.coarsest = min(self.coarsest or cells, cells, key=min)
        return [self._cam(passed, subject, view) for subject in subjects]

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


def _rollout(maps: AttentionMaps, view: View, title: str, pixel: Pixel | None = None) -> HeatMap:
    """To the token of a pixel, or to all tokens of the last map."""
    heat = maps.rollout(None if pixel is None else _token(maps.blocks[-1], view, pixel))
    return HeatMap(("attention rollout", title), heat[0].cpu(), view.cell(maps.blocks[0].stride))


def _last_two_of_each_stage(maps: AttentionMaps) -> list[list[BlockAttention]]:
    """Two rows with a block a stage: in SVT the last LSA and the last GSA; one row if a stage has no two blocks."""
    by_stage: list[list[BlockAttention]] = []
    for block in maps.blocks:
        if block.index == 0:
            by_stage.append([])
        by_stage[-1].append(block)
    depth = min(2, *map(len, by_stage))
    assert len(by_stage) <= COLUMNS
    return [[of_stage[-i] for of_stage in by_stage] for i in range(depth, 0, -1)]


def _from_pixel(block: BlockAttention, view: View, pixel: Pixel) -> HeatMap:
    """Where the token of a pixel looks, as the mean over the heads."""
    heat = block.of_token(*_token(block, view, pixel))[0].mean(dim=0).cpu()
    titles = f"{block.kind}, {block.name}", f"largest {_percent(float(heat.max()))}"
    return HeatMap(titles, heat, view.cell(block.stride))


def _token(block: BlockAttention, view: View, pixel: Pixel) -> tuple[int, int]:
    height, width = view.cell(1)
    return block.token_at(pixel[0] / height, pixel[1] / width)


def _highest(heat_maps: Sequence[HeatMap], view: View) -> Pixel:
    """The pixel in the middle of the largest value of the first map that is not all zero, or else of the image."""
    for heat_map in heat_maps:
        if heat_map.heat.any():
            row, column = divmod(int(heat_map.heat.argmax()), heat_map.heat.shape[1])
            return int((row + 0.5) * heat_map.cell[0]), int((column + 0.5) * heat_map.cell[1])
    return view.shown.shape[1] // 2, view.shown.shape[2] // 2


def _percent(share: float) -> str:
    """With two digits that count: 0.24 %, 5.6 %, 37 %, 100 %."""
    return f"{100 * share:.{0 if share >= 0.0995 else 1 if share >= 0.00995 else 2}f} %"

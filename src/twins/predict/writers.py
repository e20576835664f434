"""Predictions as files: drawn on the images, and as data. Each file is whole at any moment, or not there."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from ..atomic_write import atomic_file
from ..data.annotation_errors import a_few
from ..data.palette import class_colours
from ..metrics.coco_format import CocoDetections
from ..plots.boxes import draw_detections
from ..plots.image_grid import draw_image_grid
from ..plots.masks import draw_mask
from .predictions import Classified, Detected, Segmented, shares
from .predictors import ClassifyPredictor, DetectPredictor, Predictor, SegmentPredictor
from .sources import ImageFile, image_ids, output_names

NAMED = 10  # classes that the summary names
SHEET, THUMBNAIL = 32, 160  # images on a contact sheet, and their side
KEPT_SUFFIXES = (".png", ".jpg", ".jpeg")  # of drawn images


class Writer(Protocol):
    """Writes the predictions of one task to a folder. Its methods raise TwinsError where they cannot write."""

    def add(self, index: int, image: Image.Image, prediction: Any) -> None:
        """Write, or keep for `finish`, the prediction for the image of `files[index]`."""

    def finish(self) -> None:
        """Write the tables, of however many images there were."""

    def summary(self) -> str:
        """What was found in all images, in a line for people."""


def make_writer(predictor: Predictor[Any], files: Sequence[ImageFile], folder: Path, draw: bool) -> Writer:
    """The writer of the predictor's task, for predictions of these files; `draw` asks for drawn images, too."""
    if isinstance(predictor, ClassifyPredictor):
        return ClassifyWriter(predictor, files, folder, draw)
    if isinstance(predictor, SegmentPredictor):
        return SegmentWriter(predictor, files, folder, draw)
    assert isinstance(predictor, DetectPredictor)
    return DetectWriter(predictor, files, folder, draw)


class ClassifyWriter:
    """`predictions.csv`, a row an image with its likeliest classes; and, drawn, a contact sheet."""

    def __init__(self, predictor: ClassifyPredictor, files: Sequence[ImageFile], folder: Path, draw: bool) -> None:
        self.files, self.folder = files, folder
        self.shown = min(predictor.topk, len(predictor.classes))
        self.on_sheet = SHEET if draw else 0
        self.rows: list[list[Any]] = []
        self.thumbnails: list[tuple[Tensor, str]] = []
        self.counts: Counter[str] = Counter()

    def add(self, index: int, image: Image.Image, prediction: Classified) -> None:
        values = [value for name, p in prediction.top for value in (name, f"{p:.5f}")]
        self.rows.append([self.files[index].name.as_posix(), *values])
        best, probability = prediction.top[0]
        self.counts[best] += 1
        if len(self.thumbnails) < self.on_sheet:
            small = ImageOps.pad(image.convert("RGB"), (THUMBNAIL, THUMBNAIL), color="white")
            self.thumbnails.append((pil_to_tensor(small) / 255, f"{best[:16]} {100 * probability:.0f} %"))

    def finish(self) -> None:
        columns = ["file", *(column for i in range(1, self.shown + 1) for column in (f"class{i}", f"probability{i}"))]
        with atomic_file(self.folder / "predictions.csv") as path, path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([columns, *self.rows])
        if self.thumbnails:
            images, titles = zip(*self.thumbnails, strict=True)
            with atomic_file(self.folder / "predictions.png") as path:
                draw_image_grid(torch.stack(images), titles, path, "the likeliest class of each")

    def summary(self) -> str:
        return _commonest(self.counts)


class SegmentWriter:
    """`masks/`, a palette PNG of class indices for each image; `classes.txt`; and, drawn, `pictures/`."""

    def __init__(self, predictor: SegmentPredictor, files: Sequence[ImageFile], folder: Path, draw: bool) -> None:
        self.folder, self.classes = folder, predictor.classes
        self.masks = output_names(files, lambda name: ".png")
        self.drawn = _drawn_names(files) if draw else None
        self.palette = class_colours(len(self.classes)).tobytes()
        self.pixels: Counter[str] = Counter()

    def add(self, index: int, image: Image.Image, prediction: Segmented) -> None:
        mask = Image.fromarray(prediction.mask.numpy())
        mask.putpalette(self.palette)
        with atomic_file(self.folder / "masks" / self.masks[index], fsync=False) as path:
            mask.save(path)
        if self.drawn is not None:
            drawn = draw_mask(image, prediction.mask, self.classes)
            _save_image(drawn, self.folder / "pictures" / self.drawn[index])
        self.pixels.update(prediction.pixels)

    def finish(self) -> None:
        with atomic_file(self.folder / "classes.txt") as path:
            path.write_text("".join(f"{name}\n" for name in self.classes), encoding="utf-8")

    def summary(self) -> str:
        return _some(shares(self.pixels))


class DetectWriter:
    """`detections.json` in COCO's format of results; `images.json`, its images and classes; and, drawn, `pictures/`."""

    def __init__(self, predictor: DetectPredictor, files: Sequence[ImageFile], folder: Path, draw: bool) -> None:
        self.folder, self.files, self.ids = folder, files, image_ids(files)
        self.classes, self.category_ids = predictor.classes, predictor.category_ids
        self.drawn = _drawn_names(files) if draw else None
        self.images: list[dict[str, Any]] = []
        self.results: list[dict[str, Any]] = []
        self.counts: Counter[str] = Counter()

    def add(self, index: int, image: Image.Image, prediction: Detected) -> None:
        found = {"boxes": prediction.boxes, "scores": prediction.scores, "labels": prediction.labels}
        if prediction.masks is not None:
            found["masks"] = prediction.masks[:, None]
        if self.drawn is not None:
            drawn = draw_detections(image, found, self.classes, min_score=0.0)
            _save_image(drawn, self.folder / "pictures" / self.drawn[index])
        name, image_id = self.files[index].name.as_posix(), self.ids[index]
        self.images.append({"id": image_id, "file_name": name, "width": image.width, "height": image.height})
        masks = prediction.masks is not None
        self.results += CocoDetections.of(found, masks).results(image_id, self.category_ids)
        self.counts.update(prediction.names)

    def finish(self) -> None:
        categories = [{"id": i, "name": name} for i, name in zip(self.category_ids, self.classes, strict=True)]
        _write_json(self.folder / "images.json", {"images": self.images, "categories": categories})
        _write_json(self.folder / "detections.json", self.results)

    def summary(self) -> str:
        objects = many(self.counts.total(), "object")
        return f"{objects}: {_commonest(self.counts)}" if self.counts else objects


def _drawn_names(files: Sequence[ImageFile]) -> list[Path]:
    """Images keep their names; those that are neither PNG nor JPEG files are drawn as JPEG."""
    return output_names(files, lambda name: name.suffix if name.suffix.lower() in KEPT_SUFFIXES else ".jpg")


def _save_image(image: Image.Image, path: Path) -> None:
    with atomic_file(path, fsync=False) as beside:
        image.save(beside, quality=90)  # of JPEG; PNG is lossless


def _write_json(path: Path, value: Any) -> None:
    with atomic_file(path) as beside:
        beside.write_text(json.dumps(value), encoding="utf-8")


def many(count: int, what: str) -> str:
    """As people count: 1 image, 2 images."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _commonest(counts: Counter[str]) -> str:
    return _some([f"{number} x {name}" for name, number in counts.most_common()])


def _some(parts: Sequence[str]) -> str:
    return a_few(parts[:NAMED], len(parts))

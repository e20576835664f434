"""Predictions as files: drawn on the images, and as data.

Each file is whole at any moment, or not there, and has all that was predicted so far, whatever stops the program then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
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
from .growing_files import CsvTable, GrowingFile, JsonList
from .predictions import Classified, Detected, Segmented, shares
from .predictors import ClassifyPredictor, DetectPredictor, Predictor, SegmentPredictor
from .sources import ImageFile, image_ids, output_names

NAMED = 10  # classes that the summary names
SHEET, THUMBNAIL = 32, 160  # images on a contact sheet, and their side
KEPT_SUFFIXES = (".png", ".jpg", ".jpeg")  # of drawn images


class Writer(Protocol):
    """Writes the predictions of one task to a folder. Its methods raise TwinsError where they cannot write."""

    def add(self, index: int, image: Image.Image, prediction: Any) -> None:
        """Write the prediction for the image of `files[index]`."""

    def finish(self) -> None:
        """Close what was written, and draw what shows many images, of however many there were."""

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
        shown = range(1, min(predictor.topk, len(predictor.classes)) + 1)
        self.columns = ["file", *(column for i in shown for column in (f"class{i}", f"probability{i}"))]
        self.table: CsvTable | None = None
        self.on_sheet = SHEET if draw else 0
        self.thumbnails: list[tuple[Tensor, str]] = []
        self.counts: Counter[str] = Counter()

    def add(self, index: int, image: Image.Image, prediction: Classified) -> None:
        values = [value for name, p in prediction.top for value in (name, f"{p:.5f}")]
        self.table = self.table or CsvTable(self.folder / "predictions.csv", self.columns)
        self.table.add_rows([[self.files[index].name.as_posix(), *values]])
        best, probability = prediction.top[0]
        self.counts[best] += 1
        if len(self.thumbnails) < self.on_sheet:
            small = ImageOps.pad(image.convert("RGB"), (THUMBNAIL, THUMBNAIL), color="white")
            self.thumbnails.append((pil_to_tensor(small) / 255, f"{best[:16]} {100 * probability:.0f} %"))

    def finish(self) -> None:
        if self.table is not None:
            self.table.close()
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
        with atomic_file(self.folder / "masks" / self.masks[index], fsync=False) as path:
            palette_image(prediction.mask, self.palette).save(path)
        if self.drawn is not None:
            drawn = draw_mask(image, prediction.mask, self.classes)
            _save_image(drawn, self.folder / "pictures" / self.drawn[index])
        self.pixels.update(prediction.pixels)

    def finish(self) -> None:
        with atomic_file(self.folder / "classes.txt") as path:
            path.write_text("".join(f"{name}\n" for name in self.classes), encoding="utf-8")

    def summary(self) -> str:
        return _some(shares(self.pixels))


def palette_image(mask: Tensor, palette: bytes) -> Image.Image:
    """(H, W) uint8 class indices as an image of these, each shown in its colour of `class_colours`."""
    image = Image.fromarray(mask.numpy())
    image.putpalette(palette)
    return image


class DetectWriter:
    """`detections.json` in COCO's format of results; `images.json`, its images and classes; and, drawn, `pictures/`.

    For spreadsheets `detections.csv`, a row an object, and `counts.csv`, a row an image with a column a class.
    """

    def __init__(self, predictor: DetectPredictor, files: Sequence[ImageFile], folder: Path, draw: bool) -> None:
        self.folder, self.files, self.ids = folder, files, image_ids(files)
        self.classes, self.category_ids = predictor.classes, predictor.category_ids
        self.drawn = _drawn_names(files) if draw else None
        self.tables: _DetectionTables | None = None
        self.counts: Counter[str] = Counter()

    def add(self, index: int, image: Image.Image, prediction: Detected) -> None:
        found = {"boxes": prediction.boxes, "scores": prediction.scores, "labels": prediction.labels}
        if prediction.masks is not None:
            found["masks"] = prediction.masks[:, None]
        if self.drawn is not None:
            drawn = draw_detections(image, found, self.classes, min_score=0.0)
            _save_image(drawn, self.folder / "pictures" / self.drawn[index])
        name, image_id = self.files[index].name.as_posix(), self.ids[index]
        masks = prediction.masks is not None
        results = CocoDetections.of(found, masks).results(image_id, self.category_ids)
        self.tables = self.tables or _DetectionTables(self.folder, self.classes, self.category_ids)
        self.tables.add({"id": image_id, "file_name": name, "width": image.width, "height": image.height}, results)
        self.tables.add_to_spreadsheets(name, prediction)
        self.counts.update(prediction.names)

    def finish(self) -> None:
        if self.tables is not None:
            self.tables.close()

    def summary(self) -> str:
        objects = many(self.counts.total(), "object")
        return f"{objects}: {_commonest(self.counts)}" if self.counts else objects


class _DetectionTables:
    """The four files of detections."""

    def __init__(self, folder: Path, classes: Sequence[str], category_ids: Sequence[int]) -> None:
        self.classes = classes
        categories = [{"id": i, "name": name} for i, name in zip(category_ids, classes, strict=True)]
        self.images = JsonList(folder / "images.json", {"categories": categories}, of="images")
        self.results = JsonList(folder / "detections.json")
        self.objects = CsvTable(folder / "detections.csv", ("file", "class", "score", "x0", "y0", "x1", "y1"))
        self.counts = CsvTable(folder / "counts.csv", ("file", *classes))
        self.all: tuple[GrowingFile, ...] = (self.images, self.results, self.objects, self.counts)

    def add(self, image: dict[str, Any], results: Iterable[dict[str, Any]]) -> None:
        """An image, in COCO's words, and its detections in COCO's format of results."""
        self.images.add_items([image])
        self.results.add_items(results)

    def add_to_spreadsheets(self, name: str, found: Detected) -> None:
        """The same for people; corners of boxes in pixels."""
        objects = zip(found.names, found.scores.tolist(), found.boxes.tolist(), strict=True)
        self.objects.add_rows(
            [[name, kind, f"{score:.5f}", *(f"{x:.1f}" for x in box)] for kind, score, box in objects]
        )
        labels = Counter(found.labels.tolist())
        self.counts.add_rows([[name, *(labels[label] for label in range(len(self.classes)))]])

    def close(self) -> None:
        for file in self.all:
            file.close()


def _drawn_names(files: Sequence[ImageFile]) -> list[Path]:
    """Images keep their names; those that are neither PNG nor JPEG files are drawn as JPEG."""
    return output_names(files, lambda name: name.suffix if name.suffix.lower() in KEPT_SUFFIXES else ".jpg")


def _save_image(image: Image.Image, path: Path) -> None:
    with atomic_file(path, fsync=False) as beside:
        image.save(beside, quality=90)  # of JPEG; PNG is lossless


def many(count: int, what: str) -> str:
    """As people count: 1 image, 2 images."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _commonest(counts: Counter[str]) -> str:
    return _some([f"{number} x {name}" for name, number in counts.most_common()])


def _some(parts: Sequence[str]) -> str:
    return a_few(parts[:NAMED], len(parts))

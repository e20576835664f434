"""Predictions as rows of a table: the columns of each task, and their values."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from io import BytesIO
from typing import Any, NamedTuple, Protocol

from ...data.palette import class_colours
from ...metrics.coco_format import CocoDetections
from ...preprocessing import Size
from ..embedding import EmbedPredictor
from ..predictions import Classified, Detected, Embedded, Segmented
from ..predictors import ClassifyPredictor, DetectPredictor, Predictor, SegmentPredictor
from ..writers import palette_image

Row = Mapping[str, Any]  # values by the names of columns; those that are not there are null


class Kind(Enum):
    """What a column holds, in words that each file format has a type of its own for."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    TEXTS = "texts"
    INTEGERS = "integers"
    NUMBERS = "numbers"
    BOXES = "boxes"  # N times x0, y0, x1, y1
    MASKS = "masks"  # N times COCO's RLE, {"size", "counts"}
    PNG = "png"  # the bytes of a file
    FLOAT32 = "float32"  # a vector of so many as the column's `length`
    FLOAT16 = "float16"


class Column(NamedTuple):
    """A column of a table."""

    name: str
    kind: Kind
    length: int = 0  # of vectors


FILE, ERROR = Column("file", Kind.TEXT), Column("error", Kind.TEXT)
_SIZE = (Column("width", Kind.INTEGER), Column("height", Kind.INTEGER))


class Rows(Protocol):
    """The columns of a task between `file` and `error`, and their values for an image."""

    columns: tuple[Column, ...]

    def values(self, size: Size, prediction: Any) -> Row: ...


def rows_of(predictor: Predictor[Any], embed_dtype: str = "float32") -> Rows:
    """How predictions of this predictor become rows; vectors have the `embed_dtype`, float32 or float16."""
    if isinstance(predictor, EmbedPredictor):
        return EmbedRows(predictor, embed_dtype)
    if isinstance(predictor, ClassifyPredictor):
        return ClassifyRows(predictor)
    if isinstance(predictor, SegmentPredictor):
        return SegmentRows(predictor)
    assert isinstance(predictor, DetectPredictor)
    return DetectRows(predictor)


def all_columns(rows: Rows) -> tuple[Column, ...]:
    """Those of every table, the file first and the error last, with the task's between."""
    return (FILE, *rows.columns, ERROR)


class ClassifyRows:
    """The likeliest class; and, where more than one is asked for, the names and probabilities of these, falling."""

    def __init__(self, predictor: ClassifyPredictor) -> None:
        self.label_of = {name: label for label, name in enumerate(predictor.classes)}
        self.several = min(predictor.topk, len(predictor.classes)) > 1
        lists = (Column("top_classes", Kind.TEXTS), Column("top_probabilities", Kind.NUMBERS))
        self.columns = (
            *(Column("label", Kind.INTEGER), Column("class", Kind.TEXT), Column("probability", Kind.NUMBER)),
            *(lists if self.several else ()),
        )

    def values(self, size: Size, prediction: Classified) -> Row:
        names, probabilities = zip(*prediction.top, strict=True)
        best = int(prediction.probabilities.argmax())
        row = {"label": best, "class": names[0], "probability": probabilities[0]}
        return row | {"top_classes": list(names), "top_probabilities": list(probabilities)} if self.several else row


class SegmentRows:
    """The mask, a palette PNG of class indices, and each class that occurs with its share of the pixels, falling."""

    columns: tuple[Column, ...] = (
        *_SIZE,
        Column("classes", Kind.TEXTS),
        Column("shares", Kind.NUMBERS),
        Column("mask", Kind.PNG),
    )

    def __init__(self, predictor: SegmentPredictor) -> None:
        self.palette = class_colours(len(predictor.classes)).tobytes()

    def values(self, size: Size, prediction: Segmented) -> Row:
        file = BytesIO()
        palette_image(prediction.mask, self.palette).save(file, "PNG")
        pixels = prediction.pixels.most_common()
        total = prediction.mask.numel()
        return {
            **_width_and_height(size),
            "classes": [name for name, _ in pixels],
            "shares": [count / total for _, count in pixels],
            "mask": file.getvalue(),
        }


class DetectRows:
    """The objects of an image by falling score; boxes are corners in pixels of the upright image."""

    def __init__(self, predictor: DetectPredictor) -> None:
        self.columns = (
            *_SIZE,
            Column("boxes", Kind.BOXES),
            Column("scores", Kind.NUMBERS),
            Column("labels", Kind.INTEGERS),
            Column("names", Kind.TEXTS),
            *((Column("masks", Kind.MASKS),) if predictor.has_masks else ()),
        )

    def values(self, size: Size, prediction: Detected) -> Row:
        row = {
            **_width_and_height(size),
            "boxes": prediction.boxes.tolist(),
            "scores": prediction.scores.tolist(),
            "labels": prediction.labels.tolist(),
            "names": prediction.names,
        }
        if prediction.masks is None:
            return row
        found = {"boxes": prediction.boxes, "scores": prediction.scores, "labels": prediction.labels}
        return row | {"masks": CocoDetections.of(found | {"masks": prediction.masks[:, None]}, masks=True).masks}


class EmbedRows:
    """The image's features as a vector."""

    def __init__(self, predictor: EmbedPredictor, dtype: str) -> None:
        self.columns: tuple[Column, ...] = (Column("embedding", Kind(dtype), predictor.width),)
        self.dtype = dtype

    def values(self, size: Size, prediction: Embedded) -> Row:
        return {"embedding": prediction.features.numpy().astype(self.dtype)}


def _width_and_height(size: Size) -> dict[str, int]:
    height, width = size
    return {"width": width, "height": height}

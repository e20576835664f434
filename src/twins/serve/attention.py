"""What a network attends to from one pixel of an image."""

from __future__ import annotations

import math
from io import BytesIO
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from ..data.images import size_of
from ..explain.attention import attention_maps
from ..explain.attention_overlays import rollout_map
from ..explain.views import View, view_of
from ..predict import Predictor, load_predictor
from ..preprocessing import Size
from .models import ServedModel
from .problems import ProblemError


class Attended(NamedTuple):
    """Attention rollout from the last stage's token at a pixel to every token of the first, 4 pixels of the input."""

    png: bytes  # 8-bit grey, 255 where it is highest
    seen: tuple[int, int, int, int]  # x0, y0, x1, y1: what of the upright image it covers


class Attention:
    """Looks into networks in PyTorch; one that is computed otherwise is loaded once more, when it is first asked for.

    `turn` is held while a network computes. For one thread.
    """

    def __init__(self, turn: Lock, ema: bool | None) -> None:
        self.turn, self.ema = turn, ema
        self.predictors: dict[str, Predictor[Any]] = {}

    def at(self, model: ServedModel, image: Image.Image, x: int, y: int) -> Attended:
        """From the pixel (x, y) of an image as the predictor reads it. Raises ProblemError, 422, if it is not seen."""
        predictor = self._in_pytorch(model)
        view = view_of(predictor, image)
        pixel = view.pixel_at(y, x, size_of(image))
        if pixel is None:
            raise ProblemError(422, f"x={x}, y={y} lies outside of what the network sees of the image")
        with self.turn:
            maps = attention_maps(predictor.model, view.images)
            heat = rollout_map(maps, view, "", pixel).heat
        return _attended(heat, view, maps.blocks[0].stride, size_of(image))

    def _in_pytorch(self, model: ServedModel) -> Predictor[Any]:
        if model.in_pytorch:
            return model.predictor
        if model.name not in self.predictors:
            self.predictors[model.name] = load_predictor(model.weights, "cpu", self.ema)
        return self.predictors[model.name]


def _attended(heat: Tensor, view: View, stride: int, size: Size) -> Attended:
    """The part of the map that is not padding, and where it lies on the image of `size`."""
    cell = view.cell(stride)
    shown = view.shown.shape[1:]
    rows, columns = (
        min(tokens, math.ceil(side / one)) for tokens, side, one in zip(heat.shape, shown, cell, strict=True)
    )
    heat = heat[:rows, :columns]
    grey = (255 * heat / heat.max().clamp(min=1e-12)).round().to("cpu").numpy().astype(np.uint8)
    file = BytesIO()
    Image.fromarray(grey).save(file, "PNG")
    bottom, right = min(rows * cell[0], shown[0]), min(columns * cell[1], shown[1])
    top, left = view.corner
    down, across = size[0] / view.resized[0], size[1] / view.resized[1]
    x0, x1 = (min(max(round((left + at) * across), 0), size[1]) for at in (0, right))
    y0, y1 = (min(max(round((top + at) * down), 0), size[0]) for at in (0, bottom))
    return Attended(file.getvalue(), (x0, y0, x1, y1))

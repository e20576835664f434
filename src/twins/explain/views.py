"""What a network sees of an image that is predicted: its input, the same to be shown, and which pixel is which."""

from __future__ import annotations

from typing import NamedTuple

from PIL import Image
from torch import Tensor

from ..data.classify.transforms import seen_part
from ..data.images import size_of
from ..heads.detection.detector import Detector
from ..predict import Predictor
from ..preprocessing import ClassifyPreprocessing, Size


class View(NamedTuple):
    """An image as a network sees it."""

    images: Tensor | list[Tensor]  # the model's argument, of this image alone
    shown: Tensor  # (C, H, W) in [0, 1], on the CPU
    network_size: Size  # what the network computes with; of a detector more than `shown`, of others the same
    resized: Size  # what the whole image has become, of which `shown` is a part
    corner: tuple[int, int]  # (top, left) of that part

    def cell(self, stride: int) -> tuple[float, float]:
        """Height and width of a token of this stride, in pixels of `shown`."""
        height, width = self.shown.shape[1:]
        return stride * height / self.network_size[0], stride * width / self.network_size[1]

    def pixel_at(self, row: int, column: int, size: Size) -> tuple[int, int] | None:
        """The pixel of `shown` where one of the whole image of `size` went; None if it is not seen."""
        y = int((row + 0.5) * self.resized[0] / size[0]) - self.corner[0]
        x = int((column + 0.5) * self.resized[1] / size[1]) - self.corner[1]
        height, width = self.shown.shape[1:]
        return (y, x) if 0 <= y < height and 0 <= x < width else None


def view_of(predictor: Predictor, image: Image.Image) -> View:
    """What the predictor's network sees of an image, as `predictor.read` returns it."""
    seen = predictor.as_tensor(image).to(predictor.device)
    size = (seen.shape[1], seen.shape[2])
    if isinstance(predictor.model, Detector):
        network_size = predictor.model.transform.resized_size(size)
        return View([seen], seen.cpu(), network_size, size, (0, 0))
    preprocessing = predictor.info.preprocessing
    assert preprocessing is not None
    resized, corner = size, (0, 0)
    if isinstance(preprocessing, ClassifyPreprocessing):
        resized, corner = seen_part(preprocessing, size_of(image))
    return View(seen[None], preprocessing.denormalise(seen).cpu(), size, resized, corner)

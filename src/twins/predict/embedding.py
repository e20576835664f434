"""Networks without their heads: an image's features, pooled, by which images are compared, searched and sorted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.functional import pil_to_tensor

from ..checkpoints.info import CheckpointInfo
from ..data.classify.partial_jpeg import JpegImage
from ..data.classify.transforms import eval_transform
from ..data.masks.transforms import mask_eval_transform
from ..errors import TwinsError
from ..heads.base import DenseModel
from ..heads.detection.transform import DetectorTransform
from ..model import Twins
from ..preprocessing import ClassifyPreprocessing, DetectPreprocessing, Preprocessing, SegmentPreprocessing, Size
from ..runtimes.exported_info import ExportedInfo
from .computed import Computed
from .predictions import Embedded
from .predictors import ClassifyPredictor, Predictor


class EmbedPredictor(Predictor[Embedded]):
    """The features of images, which are made ready as for the task that the network has learnt.

    Of a classifier they are what its head takes, `forward_head(..., pre_logits=True)`; of a segmenter or detector the
    mean over the positions of the backbone's last map. The heads are not computed.
    """

    def __init__(self, info: CheckpointInfo, computed: Computed, ema: bool | None) -> None:
        if isinstance(info, ExportedInfo):
            raise TwinsError(
                f"{info.source}: --embed takes the features inside the network, which an exported file hides: take the "
                "checkpoint that it was made of"
            )
        assert info.preprocessing is not None
        self._transform = _transform_of(info.preprocessing)
        self.batch_size = ClassifyPredictor.batch_size if info.task == "classify" else 1  # the others' sizes differ
        super().__init__(info, computed, ema)
        of_what = "what its head takes" if info.task == "classify" else "the mean over the backbone's last map"
        self.remarks = (*self.remarks, f"features: {self.width}, {of_what}")

    @property
    def width(self) -> int:
        """How many features an image has."""
        return int(self.model.embed_dims[-1])  # type: ignore[index]  # a frozen network has them too

    def part_of(self, network: nn.Module) -> nn.Module:
        """The network without its heads."""
        if isinstance(network, DenseModel):
            return network.backbone
        assert isinstance(network, Twins)
        network.reset_classifier(0)
        return network

    def as_tensor(self, image: Image.Image | JpegImage) -> Tensor:
        return self._transform(image)

    def predict_tensors(self, tensors: Sequence[Tensor], sizes: Sequence[Size]) -> list[Embedded]:
        """The features; tensors of more than one size cannot go together."""
        outputs = self.model(torch.stack(list(tensors)).to(self.device))
        features = outputs if isinstance(outputs, Tensor) else outputs[-1].mean(dim=(2, 3))
        return [Embedded(row) for row in features.float().cpu()]


def _transform_of(preprocessing: Preprocessing) -> Callable[[Any], Tensor]:
    """From an image to the normalised (C, H, W) floats that the backbone sees of it in its own task."""
    match preprocessing:
        case ClassifyPreprocessing():
            return eval_transform(preprocessing)
        case SegmentPreprocessing():
            of_mask = mask_eval_transform(preprocessing)
            return lambda image: of_mask(image, torch.empty(0))[0][0]
    assert isinstance(preprocessing, DetectPreprocessing)
    resized = DetectorTransform(preprocessing.min_size, preprocessing.max_size, preprocessing.mean, preprocessing.std)

    def of_detector(image: Image.Image) -> Tensor:
        """Without the zeros that fill up a batch, which are none of the image's features."""
        batch = resized([preprocessing.to_float(pil_to_tensor(image))])
        height, width = batch.image_sizes[0]
        return batch.tensors[0][:, :height, :width]

    return of_detector

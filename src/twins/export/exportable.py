"""Networks as exported files have them: images in [0, 1] in, normalised inside, outputs by name."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..heads.detection import Detector, ExportableDetector
from ..heads.segmentation import Segmenter
from ..model import Twins
from ..preprocessing import Preprocessing


class Exportable(nn.Module):
    """(B, C, H, W) float32 images in [0, 1] -> float32 and int64 outputs by name; see `runtimes.Description`.

    `outputs` are the names in the order in which they are computed. Subclasses compute them of normalised images.
    """

    outputs: tuple[str, ...]
    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.network = network
        for name in ("mean", "std"):
            values = torch.tensor(getattr(preprocessing, name))[:, None, None]
            self.register_buffer(name, values, persistent=False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return self.compute((images - self.mean) / self.std)

    def compute(self, normalised: Tensor) -> dict[str, Tensor]:
        """The outputs for images that are normalised."""
        raise NotImplementedError


class ExportableClassifier(Exportable):
    """`logits` (B, classes)."""

    outputs = ("logits",)

    def compute(self, normalised: Tensor) -> dict[str, Tensor]:
        return {"logits": self.network(normalised)}


class ExportableSegmenter(Exportable):
    """`class_map` (B, H, W) int64, and `logits` (B, classes, H // 4, W // 4), of which it is made."""

    outputs = ("class_map", "logits")

    def compute(self, normalised: Tensor) -> dict[str, Tensor]:
        segmenter: Any = self.network
        logits = segmenter.decode_head(segmenter.maps(normalised))
        whole = F.interpolate(logits, size=normalised.shape[-2:], mode="bilinear", align_corners=False)
        return {"class_map": whole.argmax(dim=1), "logits": logits}


class ExportableDetections(Exportable):
    """`boxes` (B, K, 4), `scores` (B, K), `labels` (B, K) and perhaps `masks` (B, K, 28, 28); see `ExportableDetector`.

    The detector itself normalises.
    """

    def __init__(self, network: Detector, preprocessing: Preprocessing) -> None:
        detections = ExportableDetector(network)
        super().__init__(detections, preprocessing)
        self.outputs = detections.outputs

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        outputs: dict[str, Tensor] = self.network(images)
        return outputs


def as_exportable(network: nn.Module, preprocessing: Preprocessing) -> Exportable:
    """The network, in evaluation mode, as an exported file will have it."""
    match network:
        case Twins():
            return ExportableClassifier(network, preprocessing).eval()
        case Segmenter():
            return ExportableSegmenter(network, preprocessing).eval()
        case Detector():
            return ExportableDetections(network, preprocessing).eval()
    raise NotImplementedError(type(network).__name__)

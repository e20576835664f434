"""Exported networks as PyTorch modules, called as the networks that they were made of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checkpoints.info import CheckpointInfo
from ..errors import TwinsError
from ..heads.detection.detector import check_images
from ..heads.detection.instance_masks import paste_masks
from ..heads.detection.selection import Detections, Selection
from ..preprocessing import DetectPreprocessing, Size, fitted_size
from .network import ExportedNetwork

Outputs = Mapping[str, Tensor]


class ExportedModule(nn.Module):
    """An exported network behind the interface of the task's own; `remarks` are lines to be said of it to people."""

    takes_lists = False  # of images, as detectors do, in place of batches

    def __init__(self, network: ExportedNetwork) -> None:
        super().__init__()
        self.network, self.description = network, network.description
        self.remarks = [f"{network.path}: {network.runtime}"]
        self.where = nn.Parameter(torch.empty(0), requires_grad=False)  # modules are asked where their parameters are

    def outputs(self, images: Tensor) -> Outputs:
        """Those of `Description` for a batch of any number of images, on its device.

        A network of a fixed batch is called as often as that takes, the last time with its last image repeated.
        """
        batches = images.to(self.network.device).split(self.description.batch or max(len(images), 1))
        outputs = [self.network(self._filled(batch)) for batch in batches]
        return {
            name: torch.cat([of_batch[name] for of_batch in outputs])[: len(images)].to(images.device)
            for name in self.description.outputs
        }

    def seen(self, image: Tensor) -> Tensor:
        """What the network itself gets of one image (C, h, w), as the task's network takes it: (1, C, H, W)."""
        return image[None]

    def _filled(self, images: Tensor) -> Tensor:
        lacking = (self.description.batch or len(images)) - len(images)
        return torch.cat([images, images[-1:].expand(lacking, -1, -1, -1)]) if lacking else images

    def nearest_size(self, size: Size) -> Size:
        """Of the sizes that the network takes the one that is the most like this one."""

        def unlikeness(other: Size) -> float:
            return sum(abs(math.log(theirs / ours)) for theirs, ours in zip(other, size, strict=True))

        return min(self.description.sizes, key=unlikeness, default=size)

    def say_sizes(self) -> None:
        """Say that images are made to fit, where the network takes but some sizes."""
        if self.description.sizes:
            sizes = " or ".join(f"{height}x{width}" for height, width in self.description.sizes)
            self.remarks.append(
                f"{self.network.path}: resizes every image to {sizes} pixels, as it was exported; export it with "
                "--img-size dynamic to keep their proportions"
            )


class ExportedClassifier(ExportedModule):
    """(B, C, H, W) floats in [0, 1] -> (B, classes) logits. Raises TwinsError for a size that it does not take."""

    def forward(self, images: Tensor) -> Tensor:
        return self.outputs(images)["logits"]


class ExportedSegmenter(ExportedModule):
    """(B, C, H, W) floats in [0, 1] -> (B, classes, H, W) logits, as `Segmenter`.

    Images of a size that a network of fixed sizes does not take are resized to the one that is the most like it.
    """

    def __init__(self, network: ExportedNetwork) -> None:
        super().__init__(network)
        self.say_sizes()

    def forward(self, images: Tensor) -> Tensor:
        return resized(self.outputs(self._fitted(images))["logits"], images.shape[-2:])

    def seen(self, image: Tensor) -> Tensor:
        return self._fitted(image[None])

    def _fitted(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        return resized(images, self.nearest_size((height, width)))


class ExportedDetector(ExportedModule):
    """A list of (C, H, W) floats in [0, 1], of any sizes -> a dictionary of detections an image, as `Detector`.

    Its selection was fixed when it was exported: detections can still be left out by their scores and their number.
    """

    takes_lists = True

    def __init__(
        self, network: ExportedNetwork, ready: DetectPreprocessing, inside: Selection, wanted: Selection
    ) -> None:
        super().__init__(network)
        self.resize, self.wanted = (ready.max_size, ready.min_size), wanted
        self.say_sizes()
        self._compare(inside, wanted)

    def _compare(self, inside: Selection, wanted: Selection) -> None:
        """Say which of the wanted detections the network has left out before. Raises TwinsError for another NMS."""
        path = self.network.path
        if wanted.nms_thresh != inside.nms_thresh:
            raise TwinsError(
                f"{path}: --iou {wanted.nms_thresh} is not what it was exported with, {inside.nms_thresh}: leave it "
                "out, or take the checkpoint"
            )
        if wanted.score_thresh < inside.score_thresh:
            self.remarks.append(
                f"{path}: has no detections that score {inside.score_thresh} or less, as it was exported: --conf "
                f"{wanted.score_thresh} shows no more"
            )
        if wanted.detections_per_img > inside.detections_per_img:
            self.remarks.append(
                f"{path}: has {inside.detections_per_img} detections an image at most, as it was exported: --max-det "
                f"{wanted.detections_per_img} shows no more"
            )

    def forward(self, images: Sequence[Tensor]) -> list[Detections]:
        check_images(images, self.description.in_chans)
        return [self._detections(image) for image in images]

    def seen(self, image: Tensor) -> Tensor:
        height, width = image.shape[1:]
        return resized(image[None], self.nearest_size(fitted_size((height, width), self.resize)))

    def _detections(self, image: Tensor) -> Detections:
        fitted = self.seen(image)
        before, after = (image.shape[1], image.shape[2]), fitted.shape[-2:]
        outputs = {name: values[0] for name, values in self.outputs(fitted).items()}
        detected = (outputs["labels"] >= 0) & (outputs["scores"] > self.wanted.score_thresh)
        kept = detected.nonzero()[: self.wanted.detections_per_img, 0]
        scale = outputs["boxes"].new_tensor([after[1] / before[1], after[0] / before[0]] * 2)
        boxes = outputs["boxes"][kept] / scale
        detections = {"boxes": boxes, "scores": outputs["scores"][kept], "labels": outputs["labels"][kept]}
        if "masks" in outputs:
            detections["masks"] = paste_masks(outputs["masks"][kept], boxes, before)
        return detections


def exported_module(
    network: ExportedNetwork, info: CheckpointInfo, inside: Selection | None, wanted: Selection | None
) -> ExportedModule:
    """The opened network as the module of its task.

    Of a detector `inside` is the selection that it was exported with and `wanted` the one that is asked for, the same
    by default. Raises TwinsError for another NMS than is inside.
    """
    if isinstance(info.preprocessing, DetectPreprocessing):
        assert inside is not None
        return ExportedDetector(network, info.preprocessing, inside, wanted or inside)
    return ExportedSegmenter(network) if info.task == "segment" else ExportedClassifier(network)


def resized(images: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, h, w) -> (B, C, H, W), bilinear without antialias, as the networks resize themselves."""
    if images.shape[-2:] == tuple(size):
        return images
    return F.interpolate(images, size=tuple(size), mode="bilinear", align_corners=False)

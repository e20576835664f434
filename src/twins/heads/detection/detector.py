"""The two detectors, each a backbone, a pyramid and heads. Called as torchvision's are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...errors import TwinsError
from ...model import TwinsBackbone
from ..base import DenseModel
from ..fpn import FeaturePyramid
from .retina_head import RetinaHead
from .roi_head import RoIHead
from .rpn_head import RPNHead
from .selection import Detections, Selection
from .transform import DetectorTransform, ImageList, Target, resized_targets


class Detector(DenseModel):
    """Images in, losses or detections out.

    Takes a list of (in_chans, H, W) floats in [0, 1], of any sizes. Resizing and normalising are the network's own;
    boxes and masks are in the pixels of the images as they came.

    - In training also a list of targets, one dictionary an image: `boxes` (N, 4) floats x0, y0, x1, y1 in pixels,
      `labels` (N,) int64 from 0 to num_classes - 1, for a mask head `masks` (N, H, W) of 0 and 1, and perhaps
      `has_mask` (N,) bool, false where an object's mask is not known and not to be learnt; N may be 0. Returns a
      dictionary of named losses, scalars. With `resize=False` images keep the size that they have, as augmented ones
      should.
    - Else returns a dictionary an image, best first: `boxes` (N, 4), `scores` (N,) from 0 to 1, `labels` (N,) int64,
      and with a mask head `masks` (N, 1, H, W) of bool.

    Raises ValueError or TypeError, naming the image, for what it cannot take, and TwinsError where it is traced or
    exported, by which its images would become constants: see `ExportableDetector`.
    """

    def __init__(
        self,
        backbone: TwinsBackbone,
        neck: FeaturePyramid,
        num_classes: int,
        transform: DetectorTransform,
        selection: Selection,
    ) -> None:
        super().__init__()
        self.backbone, self.neck = backbone, neck
        self.num_classes, self.transform, self.selection = num_classes, transform, selection

    def forward(
        self, images: Sequence[Tensor], targets: Sequence[Target] | None = None, resize: bool = True
    ) -> dict[str, Tensor] | list[Detections]:
        check_not_traced()
        check_images(images, self.backbone.in_chans)
        if self.training:
            targets = self.check_targets(targets, images)
        image_list = self.transform(images, resize)
        levels = self.neck(self.backbone(image_list.tensors))
        if self.training:
            assert targets is not None
            return self.losses(levels, image_list, resized_targets(targets, image_list))
        return self.detections(levels, image_list)

    def losses(self, levels: Sequence[Tensor], image_list: ImageList, targets: Sequence[Target]) -> dict[str, Tensor]:
        raise NotImplementedError

    def detections(self, levels: Sequence[Tensor], image_list: ImageList) -> list[Detections]:
        raise NotImplementedError

    @property
    def has_masks(self) -> bool:
        return False

    def check_targets(self, targets: Sequence[Target] | None, images: Sequence[Tensor]) -> Sequence[Target]:
        """The targets, if they are such as the docstring says. Raises ValueError, naming the image, else."""
        if targets is None or len(targets) != len(images):
            raise ValueError(f"training needs targets, one for each of {len(images)} images")
        for i, (image, target) in enumerate(zip(images, targets, strict=True)):
            for key in ("boxes", "labels", *(["masks"] if self.has_masks else [])):
                if key not in target:
                    raise ValueError(f"targets[{i}] has no {key!r}")
            boxes, labels = target["boxes"], target["labels"]
            if boxes.shape != (len(labels), 4):
                raise ValueError(f"targets[{i}]: boxes are {tuple(boxes.shape)}, not ({len(labels)}, 4), one a label")
            if len(labels) and not (boxes[:, 2:] > boxes[:, :2]).all():
                raise ValueError(f"targets[{i}]: a box without area; boxes are x0, y0, x1, y1 with x0 < x1 and y0 < y1")
            if len(labels) and not 0 <= labels.min() <= labels.max() < self.num_classes:
                raise ValueError(f"targets[{i}]: labels must lie in 0..{self.num_classes - 1}")
            if self.has_masks and target["masks"].shape != (len(labels), *image.shape[1:]):
                raise ValueError(f"targets[{i}]: masks must be (objects, height, width) of the image")
            if (has_mask := target.get("has_mask")) is not None and has_mask.shape != labels.shape:
                raise ValueError(
                    f"targets[{i}]: has_mask is {tuple(has_mask.shape)}, not ({len(labels)},), one a label"
                )
        return targets


class RetinaNet(Detector):
    """One stage: anchors on maps of strides 8 to 128, the last two made by convolutions (Lin et al., 1708.02002)."""

    def __init__(
        self,
        backbone: TwinsBackbone,
        num_classes: int,
        channels: int,
        transform: DetectorTransform,
        selection: Selection,
    ) -> None:
        neck = FeaturePyramid(backbone.feature_info.channels(), channels, strided=2)
        super().__init__(backbone, neck, num_classes, transform, selection)
        self.bbox_head = RetinaHead(channels, num_classes)

    def losses(self, levels: Sequence[Tensor], image_list: ImageList, targets: Sequence[Target]) -> dict[str, Tensor]:
        return self.bbox_head.losses(levels, image_list, targets)

    def detections(self, levels: Sequence[Tensor], image_list: ImageList) -> list[Detections]:
        return self.bbox_head.detections(levels, image_list, self.selection)


class MaskRCNN(Detector):
    """Two stages: proposals on maps of strides 4 to 64, then the class, box and mask of each (He et al., 1703.06870).

    Without a mask head it is Faster R-CNN.
    """

    def __init__(
        self,
        backbone: TwinsBackbone,
        channels: int,
        rpn_head: RPNHead,
        roi_head: RoIHead,
        transform: DetectorTransform,
        selection: Selection,
    ) -> None:
        neck = FeaturePyramid(backbone.feature_info.channels(), channels, pooled=True)
        super().__init__(backbone, neck, roi_head.num_classes, transform, selection)
        self.rpn_head, self.roi_head = rpn_head, roi_head

    @property
    def has_masks(self) -> bool:
        return self.roi_head.mask_head is not None

    def losses(self, levels: Sequence[Tensor], image_list: ImageList, targets: Sequence[Target]) -> dict[str, Tensor]:
        outputs = self.rpn_head(levels)
        proposals = self.rpn_head.propose(levels, outputs, image_list)
        return {
            **self.rpn_head.losses(levels, outputs, image_list, targets),
            **self.roi_head.losses(levels[:-1], proposals, targets),
        }

    def detections(self, levels: Sequence[Tensor], image_list: ImageList) -> list[Detections]:
        proposals = self.rpn_head.propose(levels, self.rpn_head(levels), image_list)
        return self.roi_head.detections(levels[:-1], proposals, image_list, self.selection)


def check_not_traced() -> None:
    """Raises TwinsError while a graph is made of the detector, by torch.jit.trace, torch.onnx or torch.export."""
    if torch.jit.is_tracing() or torch.compiler.is_exporting():
        raise TwinsError(
            "a detector cannot be traced or exported as it is, since its shapes depend on what it finds: run twins "
            "export, or export twins.heads.detection.ExportableDetector(detector)"
        )


def check_images(images: Sequence[Tensor], channels: int) -> None:
    """Raises ValueError or TypeError, naming the image, unless these are (channels, H, W) floats, one or more."""
    if not len(images):
        raise ValueError("no images: a list of (C, H, W) tensors is needed")
    for i, image in enumerate(images):
        if not image.is_floating_point():
            raise TypeError(f"images[{i}] is of {image.dtype}: floats in [0, 1] are needed")
        if image.ndim != 3 or image.shape[0] != channels or 0 in image.shape:
            raise ValueError(f"images[{i}] is {tuple(image.shape)}: ({channels}, height, width) is needed")

"""RetinaNet and Mask R-CNN on any of the six networks, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...errors import TwinsError
from ...preprocessing import IMAGENET_MEAN, IMAGENET_STD
from ..base import dense_backbone
from .detector import Detector, MaskRCNN, RetinaNet
from .roi_head import RoIHead
from .rpn_head import RPNHead
from .selection import Selection
from .transform import DetectorTransform

SURE = 0.3  # score from which a detection is shown to people


def retinanet(
    name: str,
    num_classes: int = 80,
    min_size: int = 800,
    max_size: int = 1333,
    channels: int = 256,
    score_thresh: float = 0.05,
    nms_thresh: float = 0.5,
    detections_per_img: int = 100,
    image_mean: Sequence[float] = IMAGENET_MEAN,
    image_std: Sequence[float] = IMAGENET_STD,
    weights: str | Path | None = None,
    **backbone: Any,
) -> RetinaNet:
    """RetinaNet on one of the six networks, by name or alias. See `Detector` for how it is called.

    Parameters
    ----------
    min_size, max_size:
        Images are resized to have this shortest side, or this longest side where that is less, in pixels.
    channels:
        Width of the pyramid and the head.
    score_thresh, nms_thresh, detections_per_img:
        Detections are boxes whose score is more than the first; of two boxes of a class whose IoU is more than the
        second the one of higher score; of an image the best so many.
    image_mean, image_std:
        What images in [0, 1] are normalised by, one number a channel.
    weights:
        A checkpoint of the detector, or of a classifier for its backbone, in any dialect that `load_weights` reads.
        The report is kept as `load_report`.
    backbone:
        Keywords of `create_model`: drop_path_rate, in_chans ... As published, windows are padded with zeros
        (`window_padding`), and SVT has a norm after each stage (`stage_norms`).

    Raises TwinsError for an unknown name or keyword, for values that make no network, and for unfit weights.
    """
    _check(name, num_classes=num_classes, channels=channels)
    trunk = dense_backbone(name, {"window_padding": "zero"} | backbone, stages=(1, 2, 3))
    transform = _make_transform(name, min_size, max_size, image_mean, image_std, trunk.in_chans)
    selection = Selection(score_thresh, nms_thresh, detections_per_img)
    return RetinaNet(trunk, num_classes, channels, transform, selection).with_weights(weights)


def mask_rcnn(
    name: str,
    num_classes: int = 80,
    min_size: int = 800,
    max_size: int = 1333,
    channels: int = 256,
    box_channels: int = 1024,
    masks: bool = True,
    proposals: int = 1000,
    rpn_samples: int = 256,
    box_samples: int = 512,
    score_thresh: float = 0.05,
    nms_thresh: float = 0.5,
    detections_per_img: int = 100,
    image_mean: Sequence[float] = IMAGENET_MEAN,
    image_std: Sequence[float] = IMAGENET_STD,
    weights: str | Path | None = None,
    **backbone: Any,
) -> MaskRCNN:
    """Mask R-CNN on one of the six networks, by name or alias. See `Detector` for how it is called.

    Parameters
    ----------
    channels, box_channels:
        Width of the pyramid and the convolutions of the heads; of the box head's two hidden layers.
    masks:
        False leaves the mask head out: Faster R-CNN.
    proposals:
        Boxes an image that the first stage hands on; before NMS as many a level, in training twice that.
    rpn_samples, box_samples:
        Anchors, and proposals, an image that the losses are of.

    Everything else, and what is raised, as in `retinanet`.
    """
    _check(name, num_classes=num_classes, channels=channels, box_channels=box_channels, proposals=proposals,
           rpn_samples=rpn_samples, box_samples=box_samples)  # fmt: skip
    trunk = dense_backbone(name, {"window_padding": "zero"} | backbone)
    transform = _make_transform(name, min_size, max_size, image_mean, image_std, trunk.in_chans)
    rpn_head = RPNHead(channels, proposals, rpn_samples)
    roi_head = RoIHead(channels, num_classes, box_channels, box_samples, masks)
    selection = Selection(score_thresh, nms_thresh, detections_per_img)
    return MaskRCNN(trunk, channels, rpn_head, roi_head, transform, selection).with_weights(weights)


DETECTORS: dict[str, Callable[..., Detector]] = {"retinanet": retinanet, "mask_rcnn": mask_rcnn}


def _check(name: str, **counts: int) -> None:
    for setting, value in counts.items():
        if value < 1:
            raise TwinsError(f"{name}: {setting} must be 1 or more, not {value}")


def _make_transform(
    name: str, min_size: int, max_size: int, mean: Sequence[float], std: Sequence[float], channels: int
) -> DetectorTransform:
    _check(name, min_size=min_size, max_size=max_size)
    if not len(mean) == len(std) == channels:
        raise TwinsError(f"{name}: image_mean and image_std need {channels} numbers, one a channel (in_chans)")
    return DetectorTransform(min_size, max_size, tuple(mean), tuple(std))

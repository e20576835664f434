"""From what a checkpoint is to its network with its weights, and from a network to what its checkpoint would say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from ..checkpoints.info import CheckpointInfo, describe, for_channels
from ..checkpoints.load import load_whole
from ..checkpoints.model_folder import FORMAT
from ..checkpoints.weights import state_dict_of
from ..errors import TwinsError
from ..heads.base import DenseModel
from ..heads.detection.detector import Detector, MaskRCNN
from ..heads.segmentation import Segmenter, UPerHead
from ..model import SR_RATIOS, VARIANTS, GlobalSubsampledAttention, LocallyGroupedAttention, Stages, Twins
from ..networks import network_of
from ..preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ClassifyPreprocessing,
    DetectPreprocessing,
    Preprocessing,
    SegmentPreprocessing,
)


def whole_network(info: CheckpointInfo) -> nn.Module:
    """The network of a checkpoint with the weights that its run evaluated, float32 on the CPU.

    A segmenter has its auxiliary head if the checkpoint has. Raises TwinsError for weights that are not all there.
    """
    auxiliary = any("auxiliary_head." in key for key in state_dict_of(info.checkpoint))
    model = network_of(info, auxiliary=auxiliary)
    load_whole(model, info)
    return model


def describe_network(
    model: nn.Module, classes: Sequence[str] | None = None, preprocessing: Preprocessing | None = None
) -> CheckpointInfo:
    """What a checkpoint of a network would be, read off its modules; classes without names are numbered.

    `preprocessing` is the published networks' if it is not given, and a detector's is in it. Raises TwinsError for what
    is no classifier, segmenter or detector of ours, and for names of another number of classes.
    """
    if not isinstance(model, Twins | Segmenter | Detector) or not getattr(model, "num_classes", 0):
        raise TwinsError(
            f"a {type(model).__name__} is no classifier, segmenter or detector of this package: a whole network with "
            "its head can be saved (timm's own networks: timm.models.save_for_hf)"
        )
    trunk = model.backbone if isinstance(model, DenseModel) else model
    task, facts, settings = _facts_of_head(model)
    name, departures = _nearest_variant(_settings_of_stages(trunk))
    settings = {"num_classes": model.num_classes, **settings, **departures}
    if preprocessing is None:
        preprocessing = _usual_preprocessing(model, trunk.in_chans)
    meta = {"task": task, "name": name, **facts, "create_model": settings, "preprocessing": preprocessing.to_dict()}
    checkpoint = {"format": FORMAT, "model": model.state_dict(), "meta": meta}
    return describe(checkpoint, f"this {facts.get('head') or facts.get('detector') or name}").with_classes(classes)


def _facts_of_head(model: Twins | Segmenter | Detector) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The task, the fields of `meta` that name the head, and the keywords that it is made with."""
    if isinstance(model, Segmenter):
        head = model.decode_head
        kind = "upernet" if isinstance(head, UPerHead) else "semantic_fpn"
        return "segment", {"head": kind}, {"channels": head.conv_seg.in_channels, "head_drop": head.dropout.p}
    if isinstance(model, MaskRCNN):
        rpn, roi = model.rpn_head, model.roi_head
        counts = {"proposals": rpn.proposals, "rpn_samples": rpn.samples, "box_samples": roi.samples}
        widths = {"channels": rpn.rpn_conv.out_channels, "box_channels": roi.bbox_head.fc_cls.in_features}
        return "detect", {"detector": "mask_rcnn"}, {**widths, **counts, "masks": model.has_masks}
    if isinstance(model, Detector):
        return "detect", {"detector": "retinanet"}, {"channels": model.neck.channels}
    return "classify", {}, {}


def _settings_of_stages(trunk: Stages) -> dict[str, Any]:
    """The keywords of `Stages` that decide what it computes in evaluation."""
    stages = [list(stage) for stage in trunk.blocks]  # type: ignore[call-overload]  # each a list of blocks
    windows = [b.attn for stage in stages for b in stage if isinstance(b.attn, LocallyGroupedAttention)]
    settings = {
        "embed_dims": tuple(trunk.embed_dims),
        "num_heads": tuple(stage[0].attn.heads for stage in stages),
        "mlp_ratios": tuple(stage[0].mlp.fc1.out_features // stage[0].mlp.fc1.in_features for stage in stages),
        "depths": tuple(len(stage) for stage in stages),
        "sr_ratios": tuple(_sr_ratio(stage, published) for stage, published in zip(stages, SR_RATIOS, strict=True)),
        "window_size": windows[0].window if windows else None,
        "window_padding": windows[0].padding if windows else "mask",
        "norm_eps": stages[0][0].norm1.eps,
        "in_chans": trunk.in_chans,
    }
    if not isinstance(trunk, Twins) and (trunk.norm_list is None) == bool(windows):  # SVT has them, PCPVT has not
        settings["stage_norms"] = trunk.norm_list is not None
    return settings


def _sr_ratio(stage: list[Any], published: int) -> int:
    """How far a stage sub-samples its keys and values; nothing does where all its attention is within windows."""
    attentions = [block.attn for block in stage if isinstance(block.attn, GlobalSubsampledAttention)]
    if not attentions:
        return published
    convolution = attentions[0].sr
    return 1 if convolution is None else int(convolution.kernel_size[0])


def _nearest_variant(settings: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The one of the six, with or without windows alike, from which a network departs least, and where it departs."""
    usual = {"sr_ratios": SR_RATIOS, "norm_eps": 1e-6}

    def departures(name: str) -> dict[str, Any]:
        published = {**VARIANTS[name]._asdict(), **usual}
        return {key: value for key, value in settings.items() if key not in published or value != published[key]}

    has_windows = settings["window_size"] is not None
    alike = [name for name, variant in VARIANTS.items() if (variant.window_size is not None) == has_windows]
    name = min(alike, key=lambda name: len(departures(name)))
    return name, departures(name)


def _usual_preprocessing(model: Twins | Segmenter | Detector, in_chans: int) -> Preprocessing:
    if isinstance(model, Detector):
        transform = model.transform
        sides = (transform.min_size, transform.max_size)
        return DetectPreprocessing(*sides, mean=tuple(transform.mean), std=tuple(transform.std))
    kind = SegmentPreprocessing if isinstance(model, Segmenter) else ClassifyPreprocessing
    return kind(mean=for_channels(IMAGENET_MEAN, in_chans), std=for_channels(IMAGENET_STD, in_chans))

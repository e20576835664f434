"""What a checkpoint tells of its network, whoever wrote it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from ..class_names import numbered
from ..errors import TwinsError
from ..model import VARIANTS
from ..preprocessing import ClassifyPreprocessing, DetectPreprocessing, SegmentPreprocessing
from .coco_classes import COCO
from .keys import public_names
from .read import read_checkpoint, state_dict_of

_CLASSIFIER = re.compile(r"(?:^|\.)head\.(?:fc\.)?weight")


@dataclass(frozen=True)
class Trained:
    """Weights, and all that it takes to ask them: the `meta` of a checkpoint of ours, or what stands in for it."""

    source: str
    checkpoint: Mapping[str, Any]
    meta: Mapping[str, Any]  # as a task's `meta()` makes it
    classes: tuple[str, ...]

    @property
    def settings(self) -> dict[str, Any]:
        """How the network's own run was evaluated, as fields of its recipe; empty for weights of others."""
        return self.meta.get("recipe") or {}


def read_trained(
    weights: str | os.PathLike[str], model: str | None = None, classes: Sequence[str] | None = None
) -> Trained:
    """Read a checkpoint of any dialect. `classes` names its classes anew; `model` names a network that cannot be told.

    Weights of others are held to be published ones: of ImageNet, ADE20K or COCO, by their head. Raises TwinsError for
    a file that is no checkpoint, holds a backbone alone, or has another number of classes.
    """
    source = os.fspath(weights)
    checkpoint = read_checkpoint(weights)
    told = checkpoint.get("meta")
    if isinstance(told, dict) and "create_model" in told:
        if model is not None:
            raise TwinsError(f"{source}: knows its own network: leave --model out")
        meta = told
    else:
        meta = {"classes": (), **_published(checkpoint, source, model)}
        if names := classes_of(checkpoint):
            meta["classes"] = names
    count = meta["create_model"]["num_classes"]
    if classes is not None and len(classes) != count:
        raise TwinsError(f"{source}: tells {count} classes apart, but {len(classes)} are named; name all of them")
    return Trained(source, checkpoint, meta, tuple(classes or meta["classes"] or numbered(count)))


def _published(checkpoint: Mapping[str, Any], source: str, model: str | None) -> dict[str, Any]:
    """What the published weights would tell of themselves."""
    name = model or identify(checkpoint)
    if name is None:
        raise TwinsError(f"{source}: cannot tell which network this is; pass --model")
    head = identify_head(checkpoint)
    return {"name": name, **(_classifier(checkpoint, source) if head is None else _dense(head))}


def _dense(head: DenseHead) -> dict[str, Any]:
    widths = {"num_classes": head.classes, "channels": head.channels}
    if head.task == "segment":
        return {
            "task": "segment",
            "head": head.kind,
            "create_model": {**widths, "window_padding": "mask-both"},
            "preprocessing": SegmentPreprocessing().to_dict(),
        }
    published = {"classes": list(COCO.values()), "category_ids": list(COCO)} if head.classes == len(COCO) else {}
    return {
        "task": "detect",
        "detector": head.kind,
        "create_model": widths | ({"masks": head.masks} if head.kind == "mask_rcnn" else {}),
        "preprocessing": DetectPreprocessing().to_dict(),
        **published,
    }


def _classifier(checkpoint: Mapping[str, Any], source: str) -> dict[str, Any]:
    for weights in (checkpoint, *checkpoint.values()):
        for name, tensor in weights.items() if isinstance(weights, Mapping) else ():
            if isinstance(tensor, Tensor) and _CLASSIFIER.search(name):
                return {
                    "task": "classify",
                    "create_model": {"num_classes": len(tensor)},
                    "preprocessing": ClassifyPreprocessing().to_dict(),
                }
    raise TwinsError(
        f"{source}: holds a backbone without a head: it takes weights that were trained to classify, segment or detect"
    )


# A parameter that every head of a kind has and no other.
_KINDS_OF_HEADS = {
    "decode_head.psp_modules.0.1.conv.weight": "upernet",
    "decode_head.scale_heads.0.0.conv.weight": "semantic_fpn",
    "bbox_head.retina_cls.weight": "retinanet",
    "roi_head.bbox_head.fc_cls.weight": "mask_rcnn",
}


_MASK_HEAD = "roi_head.mask_head.conv_logits.weight"


class DenseHead(NamedTuple):
    """Which head a segmenter or detector has, its width, and how many classes it tells apart."""

    kind: str  # "upernet", "semantic_fpn", "retinanet", "mask_rcnn"
    channels: int
    classes: int
    masks: bool = False  # False for a "mask_rcnn" without its mask head, which is Faster R-CNN

    @property
    def task(self) -> str:
        return "segment" if self.kind in ("upernet", "semantic_fpn") else "detect"

    def __str__(self) -> str:
        return f"{self.kind} with {self.channels} channels"


def meta_of(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint tells of itself, ours or another's; empty where it tells nothing."""
    meta = checkpoint.get("meta")
    return meta if isinstance(meta, dict) else {}


def classes_of(checkpoint: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the classes that our checkpoints tell, and OpenMMLab's dense models; empty where there are none."""
    meta = meta_of(checkpoint)
    if "format" in checkpoint:
        return tuple(meta.get("classes") or ())
    head = identify_head(checkpoint)
    told = {str(key).lower(): value for key, value in (meta | (meta.get("dataset_meta") or {})).items()}
    names = tuple(told.get("classes") or ())
    return names if head is not None and len(names) == head.classes else ()


def identify(checkpoint: Mapping[str, Any]) -> str | None:
    """Which of the six networks a checkpoint or state dict of any dialect holds, or None.

    Told by widths, depths and the kind of attention; None, too, where a file of the first stages fits several.
    """
    weights = public_names(state_dict_of(checkpoint))
    widths: list[tuple[int, ...]] = []
    depths: list[int] = []
    while (bias := weights.get(f"pos_block.{len(widths)}.proj.0.bias")) is not None:
        stage = f"blocks.{len(widths)}."
        depths.append(len({key.split(".")[2] for key in weights if key.startswith(stage)}))
        widths.append(tuple(bias.shape))
    local = "blocks.0.0.attn.qkv.weight" in weights
    names = [
        name
        for name, variant in VARIANTS.items()
        if widths == [(dim,) for dim in variant.embed_dims[: len(widths)]]
        and depths == list(variant.depths[: len(depths)])
        and local == (variant.window_size is not None)
    ]
    return names[0] if len(names) == 1 else None


def identify_head(checkpoint: Mapping[str, Any]) -> DenseHead | None:
    """The head of the segmenter or detector that a checkpoint or state dict holds, or None."""
    weights = public_names(state_dict_of(checkpoint))
    shapes = {key: tuple(tensor.shape) for key, tensor in weights.items()}
    kind = next((kind for key, kind in _KINDS_OF_HEADS.items() if key in shapes), None)
    match kind, shapes:
        case "retinanet", {
            "bbox_head.retina_cls.weight": (logits, channels, *_),
            "bbox_head.retina_reg.bias": (sides,),
        }:
            return DenseHead("retinanet", channels, classes=4 * logits // sides)  # both for as many anchors
        case "mask_rcnn", {"rpn_head.rpn_conv.bias": (channels,), "roi_head.bbox_head.fc_cls.bias": (logits,)}:
            return DenseHead("mask_rcnn", channels, classes=logits - 1, masks=_MASK_HEAD in shapes)  # less background
        case "upernet" | "semantic_fpn", {"decode_head.conv_seg.weight": (classes, channels, _, _)}:
            return DenseHead(kind, channels, classes)
    return None

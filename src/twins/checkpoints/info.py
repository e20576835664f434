"""What a checkpoint tells of its network, whoever wrote it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ..data.boxes.coco_classes import COCO
from ..data.boxes.transforms import BoxPreprocessing
from ..data.class_names import numbered
from ..data.classify.transforms import Preprocessing
from ..data.masks.transforms import MaskPreprocessing
from ..errors import TwinsError
from ..zoo import model_name
from .load import DenseHead, classes_of, identify, identify_head
from .read import read_checkpoint

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


def read_names(path: Path) -> tuple[str, ...]:
    """Names of classes, one a line. Raises TwinsError where there are none to read."""
    try:
        names = tuple(line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise TwinsError(f"{path}: cannot read names of classes ({error}); --classes takes a text file") from error
    if not names:
        raise TwinsError(f"{path}: no names of classes in it; --classes takes a text file with a name a line")
    return names


def _published(checkpoint: Mapping[str, Any], source: str, model: str | None) -> dict[str, Any]:
    """What the published weights would tell of themselves."""
    name = model or identify(checkpoint)
    if name is None:
        raise TwinsError(f"{source}: cannot tell which network this is; pass --model")
    head = identify_head(checkpoint)
    return {"name": model_name(name), **(_classifier(checkpoint, source) if head is None else _dense(head))}


def _dense(head: DenseHead) -> dict[str, Any]:
    widths = {"num_classes": head.classes, "channels": head.channels}
    if head.task == "segment":
        return {
            "task": "segment",
            "head": head.kind,
            "create_model": {**widths, "window_padding": "mask-both"},
            "preprocessing": MaskPreprocessing().to_dict(),
        }
    published = {"classes": list(COCO.values()), "category_ids": list(COCO)} if head.classes == len(COCO) else {}
    return {
        "task": "detect",
        "detector": head.kind,
        "create_model": widths | ({"masks": head.masks} if head.kind == "mask_rcnn" else {}),
        "preprocessing": BoxPreprocessing().to_dict(),
        **published,
    }


def _classifier(checkpoint: Mapping[str, Any], source: str) -> dict[str, Any]:
    for weights in (checkpoint, *checkpoint.values()):
        for name, tensor in weights.items() if isinstance(weights, Mapping) else ():
            if isinstance(tensor, Tensor) and _CLASSIFIER.search(name):
                return {
                    "task": "classify",
                    "create_model": {"num_classes": len(tensor)},
                    "preprocessing": Preprocessing().to_dict(),
                }
    raise TwinsError(
        f"{source}: holds a backbone without a head: it takes weights that were trained to classify, segment or detect"
    )

"""What an exported file says of itself, so that whoever has the file needs nothing beside it.

It travels inside the file as one JSON string under the key "twins": in ONNX as metadata, in OpenVINO as rt_info, in
PyTorch's programs as an extra file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from reprlib import repr as shortened
from typing import Any, Self

import torch

from ..checkpoints.info import CheckpointInfo, describe_exported
from ..checkpoints.schema import check_facts
from ..errors import TwinsError
from ..preprocessing import Size

KEY = "twins"
LONGEST = 1 << 26  # bytes of a description: room for the names of a million validation images
FORMAT = 1  # of the description; a reader refuses newer ones, whose fields it may misread


@dataclass(frozen=True)
class Description:
    """An exported network: what it takes, what it gives, and where it comes from.

    It takes `images`, (B, C, H, W) float32 in [0, 1], RGB or grey; they are normalised inside. What it gives has names,
    and shapes by its task:

        classify    logits (B, classes)
        segment     class_map (B, H, W), the class of each pixel; logits (B, classes, h, w), before they are resized
        detect      boxes (B, K, 4), x0 y0 x1 y1 in pixels; scores (B, K), 0 where there is no detection; labels (B, K),
                    -1 there; with a mask head masks (B, K, 28, 28), probabilities inside each box
    """

    task: str  # "classify", "segment" or "detect"
    name: str  # which of the six networks
    head: str | None  # "upernet", "semantic_fpn", "retinanet" or "mask_rcnn"; None for a classifier
    create_model: Mapping[str, Any]  # keywords that make the network in PyTorch
    classes: tuple[str, ...]
    classes_named: bool  # whether these are names, or numbers for want of them
    category_ids: tuple[int, ...]  # what COCO's files call each class
    preprocessing: Mapping[str, Any]  # how an image becomes `images`; mean 0 and std 1, since the graph normalises
    outputs: tuple[str, ...]  # their names, in order
    sizes: tuple[Size, ...]  # (height, width) that it takes; none for any from `smallest_side` up
    smallest_side: int  # in pixels, of height and width alike
    batch: int | None  # images at once; None for any number
    dtype: str  # "fp32", "fp16", "bf16" or "int8"; images and logits are float32 whatever it is
    recipe: Mapping[str, Any] | None = None  # the fields of the recipe of its run
    split: Mapping[str, Any] | None = None  # which images its run set aside for validation
    versions: Mapping[str, str] = field(default_factory=dict)  # of what wrote the file
    quantisation: Mapping[str, Any] | None = None  # of int8: what is, the dtype of the rest, the calibration images
    checked: Mapping[str, Any] | None = None  # how it was judged when it was written
    format: int = FORMAT

    @property
    def in_chans(self) -> int:
        """Channels of the images: 3 (RGB) or 1 (grey)."""
        return int(self.create_model.get("in_chans", 3))

    def with_check(self, checked: Mapping[str, Any]) -> Self:
        """The same, with how it was judged."""
        return replace(self, checked=checked)

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str, source: str) -> Self:
        """What `to_json` wrote into the file `source`. Raises TwinsError where that is damaged or newer than this."""
        try:
            fields = json.loads(text)
            written_as = fields["format"]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise TwinsError(f"{source}: its description is damaged: export it again") from error
        if type(written_as) is not int or written_as > FORMAT:
            raise TwinsError(
                f"{source}: was written by a newer version of twins (description {shortened(written_as)}, this one "
                f"reads up to {FORMAT}): upgrade twins-vit"
            )
        check_facts(_facts(fields), f"{source}: description")
        try:
            sides = [side for size in fields["sizes"] for side in size]
            if not _are_whole_numbers(fields["smallest_side"], fields["batch"] or 1, *sides):
                raise ValueError("sizes and batch are whole numbers")
            if not _are_names(fields["dtype"], *fields["outputs"]):
                raise ValueError("outputs and the dtype have names")
            for name in ("versions", "quantisation", "checked"):
                if not isinstance(fields.get(name) or {}, dict):
                    raise ValueError(f"{name} has fields by name")
            fields |= {name: tuple(fields[name]) for name in ("classes", "category_ids", "outputs")}
            fields["sizes"] = tuple((height, width) for height, width in fields["sizes"])
            return cls(**fields)
        except (ValueError, TypeError, KeyError) as error:
            raise TwinsError(f"{source}: its description is damaged: export it again") from error

    def info(self, source: str) -> CheckpointInfo:
        """The same as of a checkpoint, for evaluation and prediction, which treat both alike; it holds no weights.

        Raises TwinsError for a preprocessing that makes no image ready.
        """
        info = describe_exported(_facts(asdict(self)), source)
        return replace(info, classes=self.classes, classes_named=self.classes_named)

    def check_images(self, images: torch.Tensor, source: str) -> None:
        """Raises TwinsError for a batch that the network does not take, saying what it takes."""
        shape = tuple(images.shape)
        if images.dtype != torch.float32 or len(shape) != 4 or shape[1] != self.in_chans:
            raise TwinsError(
                f"{source}: takes float32 images (B, {self.in_chans}, H, W) in [0, 1], not {images.dtype} {shape}"
            )
        if self.batch not in (None, shape[0]):
            raise TwinsError(f"{source}: takes {self.batch} images at once, not {shape[0]}; export it with --batch")
        height, width = shape[2:]
        if self.sizes and (height, width) not in self.sizes:
            known = ", ".join(f"{h}x{w}" for h, w in self.sizes)
            raise TwinsError(
                f"{source}: takes images of {known} pixels, not {height}x{width}; export it with --img-size"
            )
        if not self.sizes and min(height, width) < self.smallest_side:
            raise TwinsError(
                f"{source}: takes images from {self.smallest_side}x{self.smallest_side} pixels up, not "
                f"{height}x{width}; export it with --img-size for smaller ones"
            )


def _facts(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields as the `meta` of a checkpoint names them, where a detector's head is its `detector`."""
    facts = dict(fields)
    if facts.get("task") == "detect":
        facts["detector"] = facts.pop("head", None)
    return facts


def _are_names(*values: Any) -> bool:
    return all(isinstance(value, str) for value in values)


def _are_whole_numbers(*values: Any) -> bool:
    return all(type(value) is int and value > 0 for value in values)

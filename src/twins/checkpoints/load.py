"""Checkpoints brought from every dialect to the public names, and loaded with a report.

The public names are those of the original release, which timm and this package share. OpenMMLab's mmsegmentation and
mmpretrain rename most of the network; models for dense prediction hold it as `backbone`, with their heads beside it.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..errors import TwinsError
from ..model import VARIANTS
from .read import read_checkpoint, state_dict_of

# Modules that parallel, compiled, Lightning and dense models wrap around the network, or around a part of it.
_WRAPPERS = re.compile(r"(?:^|(?<=\.))(?:module|_orig_mod|model|backbone)\.")

_OPENMMLAB = (
    (r"^(patch_embeds\.\d+)\.projection\.", r"\1.proj."),
    (r"^(?:layers|stages)\.(\d+\.\d+)\.", r"blocks.\1."),
    (r"^(blocks\.\d+\.\d+)\.attn\.attn\.out_proj\.", r"\1.attn.proj."),
    (r"^(blocks\.\d+\.\d+)\.ffn\.layers\.0\.0\.", r"\1.mlp.fc1."),
    (r"^(blocks\.\d+\.\d+)\.ffn\.layers\.1\.", r"\1.mlp.fc2."),
    (r"^position_encodings\.(\d+)\.proj\.(?:0\.)?", r"pos_block.\1.proj.0."),
    (r"^norm_after_stage(\d+)\.", r"norm_list.\1."),
    (r"^head\.fc\.", "head."),
)
_JOINED_QKV = re.compile(r"(blocks\.\d+\.\d+\.attn)\.attn\.in_proj_(weight|bias)")

_TRUNK = ("patch_embeds.", "blocks.", "pos_block.")
_STEM = "patch_embeds.0.proj.weight"
_PER_CLASS = re.compile(r"(?:^|\.)(?:head|conv_seg|retina_cls|fc_cls|fc_reg|conv_logits)\.(?:weight|bias)$")
# The part of a network that a name belongs to: one stage of something, or a top-level module.
_PART = re.compile(r"(?:patch_embeds|blocks|pos_block|norm_list)\.\d+|[^.]+")
_HEADS = {"norm", "head", "decode_head", "auxiliary_head", "neck", "bbox_head", "rpn_head", "roi_head"}
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


@dataclass(frozen=True)
class LoadReport:
    """What a checkpoint held and what became of it; `str(report)` is the short text for people.

    `matched`, `reshaped` (other shapes: name -> what was done) and `missing` (not in the file, left as they were)
    share out the model's own names. `unused` (known parts that this model does not have) and `unexpected` are what is
    left of the file, under public names.
    """

    source: str
    dialect: str  # "public names", "dense", "OpenMMLab" or "twins"
    variant: str | None  # which of the six networks the file holds
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    unused: tuple[str, ...]
    reshaped: Mapping[str, str]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        groups = ("matched", "reshaped", "missing", "unused", "unexpected")
        lines = [
            ", ".join(f"{len(getattr(self, group))} {group}" for group in groups),
            f"from {self.source}: {self.variant or 'none of the six networks'}, dialect: {self.dialect}",
        ]
        lines += [f"reshaped {name}: {rule}" for name, rule in self.reshaped.items()]
        lines += [f"{group}: {_shortened(names)}" for group in groups[2:] if (names := getattr(self, group))]
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(lines)


def load_weights(
    model: nn.Module,
    source: str | os.PathLike[str] | Mapping[str, Any],
    strict: bool = True,
    ema: bool = False,
    name: str = "the given dictionary",
) -> LoadReport:
    """Load a checkpoint of any dialect into a classifier, a backbone, or a model that holds one as `backbone`.

    Parameters
    ----------
    source:
        A file, or what `read_checkpoint` made of one, or a state dict.
    strict:
        The trunk (patch embeddings, blocks, positional encodings) must be the model's, parameter for parameter; other
        parts that the file lacks keep their initialisation and are reported. False loads whatever fits.
    ema:
        Take the averaged weights that some trainings store beside the plain ones.
    name:
        What the report and errors call a source that is not a file.

    A layer for another number of classes is left as it was, a stem for other input channels is converted (see
    `_for_channels`), nothing else is reshaped. Device, dtype and requires_grad of the model stay what they were.

    Raises TwinsError, with the model untouched, for what `read_checkpoint` refuses, for weights or averages that are
    not there, and in strict mode for the weights of another network, or with a head of another kind or width.
    """
    checkpoint = source if isinstance(source, Mapping) else read_checkpoint(source)
    name = name if isinstance(source, Mapping) else os.fspath(source)
    stored = state_dict_of(checkpoint, ema)
    if not stored:
        raise TwinsError(f"{name} holds no averaged weights: leave out ema" if ema else f"{name} holds no weights")
    weights = _public_names(stored)
    state = model.state_dict()
    own_names = {_WRAPPERS.sub("", own_name): own_name for own_name in state}
    own = {key: state[own_name] for key, own_name in own_names.items()}

    fitted = {key: _fit(key, weights[key], own[key]) for key in own if key in weights}
    unused, unexpected = _left_over(weights, own)
    if strict and (refusal := _refusal(weights, own, unexpected)):
        raise TwinsError(f"{name} {refusal}")
    loaded = {own_names[key]: tensor for key, (tensor, _) in fitted.items() if tensor is not None}
    model.load_state_dict(loaded, strict=False)

    dialect = _dialect(checkpoint, stored)
    other_average = not ema and state_dict_of(checkpoint, ema=True)
    return LoadReport(
        source=name,
        dialect=dialect,
        variant=identify(weights),
        matched=tuple(own_names[key] for key, (_, rule) in fitted.items() if rule is None),
        missing=tuple(own_name for key, own_name in own_names.items() if key not in fitted),
        unexpected=unexpected,
        unused=unused,
        reshaped={own_names[key]: rule for key, (_, rule) in fitted.items() if rule is not None},
        notes=tuple(_notes(dialect, unused, own, bool(other_average))),
    )


def load_whole(model: nn.Module, checkpoint: Mapping[str, Any], name: str, ema: bool | None = None) -> LoadReport:
    """As `load_weights`, for a network that is asked and not trained any more: each of its parameters must be there.

    `ema` takes the moving average that the checkpoint keeps, or leaves it; by default it is taken where there is one,
    since that is what its run evaluated. Raises TwinsError for what `load_weights` refuses, and for parameters that are
    missing.
    """
    report = load_weights(model, checkpoint, ema=bool(checkpoint.get("model_ema")) if ema is None else ema, name=name)
    if report.missing:
        raise TwinsError(
            f"{name}: lacks {len(report.missing)} of the network's parameters, {report.missing[-1]} among them: "
            "weights of another --task or --model are for training to start from (--weights)"
        )
    return report


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
    weights = _public_names(state_dict_of(checkpoint))
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
    weights = _public_names(state_dict_of(checkpoint))
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


def _public_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a state dict of any dialect under the public names; unknown names only lose their wrappers."""
    renames = list(_OPENMMLAB)
    # mmpretrain's classifiers write their final norm as a norm after the last stage, as a rule without the others.
    if any("head.fc." in key for key in state) or not any("norm_after_stage0." in key for key in state):
        renames.insert(0, (r"^norm_after_stage3\.", "norm."))
    public = {}
    for key, tensor in state.items():
        key = _WRAPPERS.sub("", key)
        for pattern, replacement in renames:
            key = re.sub(pattern, replacement, key)
        if tensor.ndim and (joined := _JOINED_QKV.fullmatch(key)):
            q, k, v = tensor.tensor_split(3)
            public[f"{joined[1]}.q.{joined[2]}"] = q
            public[f"{joined[1]}.kv.{joined[2]}"] = torch.cat([k, v])
        else:
            public[key] = tensor
    return public


def _dialect(checkpoint: Mapping[str, Any], names: Iterable[str]) -> str:
    if "format" in checkpoint and "meta" in checkpoint:
        return "twins"
    if any("position_encodings." in name for name in names):
        return "OpenMMLab"
    return "dense" if any("backbone." in name for name in names) else "public names"


def _part(key: str) -> str:
    return found[0] if (found := _PART.match(key)) else key


def _fit(key: str, stored: Tensor, own: Tensor) -> tuple[Tensor | None, str | None]:
    """The tensor to load, if there is one, and the rule in words where the shapes differ."""
    if stored.shape == own.shape:
        return stored, None
    other_channels = own.shape[:1] + stored.shape[1:2] + own.shape[2:]
    if key == _STEM and stored.shape == other_channels and stored.numel():
        return _for_channels(stored, own.shape[1])
    return None, f"{tuple(stored.shape)} in the file, {tuple(own.shape)} here, left as it was"


def _for_channels(stem: Tensor, channels: int) -> tuple[Tensor, str]:
    """A stem that reads `channels` channels and answers a grey picture as before.

    Fewer channels: the weights of those that go are added, cyclically, to those that stay (of one: the sum of all).
    More: the weights are repeated cyclically and scaled by the ratio, exact where it is a whole number.
    """
    before, weights = stem.shape[1], stem.float()
    cycle = torch.arange(max(before, channels), device=stem.device) % min(before, channels)
    if channels < before:
        summed = weights.new_zeros(len(stem), channels, *stem.shape[2:]).index_add_(1, cycle, weights)
        return summed, f"{before} channels in the file, summed into {channels}"
    rule = f"{before} channels in the file, repeated to {channels}, times {before}/{channels}"
    return weights[:, cycle] * (before / channels), rule


def _left_over(weights: Iterable[str], own: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What the file holds beyond the model: (known parts that the model does not have, everything else)."""
    parts = {_part(key) for key in own}
    left = [key for key in weights if key not in own]
    unused = {key for key in left if _part(key) not in parts and ("." in _part(key) or _part(key) in _HEADS)}
    return tuple(key for key in left if key in unused), tuple(key for key in left if key not in unused)


def _refusal(weights: Mapping[str, Tensor], own: Mapping[str, Tensor], unexpected: Iterable[str]) -> str | None:
    """Why these are another network's weights, if they are; missing heads and other class counts are no reason."""
    problems = [f"{key} is not in the file" for key in own if key.startswith(_TRUNK) and key not in weights]
    problems += [
        f"{key} is {tuple(weights[key].shape)} in the file and {tuple(own[key].shape)} here"
        for key in own
        if key in weights and _fit(key, weights[key], own[key])[0] is None and not _PER_CLASS.search(key)
    ]
    problems += [f"{key} is in the file only" for key in unexpected if key.startswith(_TRUNK)]
    theirs, ours = identify(weights), identify(own)
    if problems and theirs and theirs != ours:
        this = f"a {ours}" if ours else "none of the six networks"
        return f"holds {theirs} weights, this model is {this}: create it as {theirs}"
    # A head of another kind shares no name with this one: it would pass for a head that the file lacks.
    their_head, our_head = identify_head(weights), identify_head(own)
    if their_head and our_head and their_head[:2] != our_head[:2]:
        return f"holds {their_head}, this model is {our_head}: create it alike, or load the file into its backbone"
    if not problems:
        return None
    if not any(key.startswith(_TRUNK) for key in weights):
        return f"holds no Twins weights but {_shortened(weights)}"
    more = f"; {len(problems) - 3} more such" if len(problems) > 3 else ""
    return f"does not fit this model: {'; '.join(problems[:3])}{more}"


def _notes(dialect: str, unused: Iterable[str], own: Iterable[str], averages: bool) -> Iterator[str]:
    if dialect == "OpenMMLab":
        yield "OpenMMLab computes every LayerNorm with eps 1e-5: norm_eps=1e-5 in create_model reproduces that"
    if any(key.startswith("norm_list.") for key in unused) and "norm_list.0.weight" not in own:
        yield "these weights expect a norm after each stage: stage_norms=True in create_model adds it"
    if averages:
        yield "the file holds averaged weights too: ema=True loads those"


def _shortened(names: Collection[str]) -> str:
    """Up to four names in full; of more, how many each part of the network has."""
    if len(names) <= 4:
        return ", ".join(names)
    parts = Counter(_part(_WRAPPERS.sub("", name)) for name in names)
    shown = [f"{part} ({count})" for part, count in parts.items()]
    return ", ".join(shown if len(shown) <= 8 else [*shown[:8], "..."])

"""Weights of every dialect into a network, with a report of what became of each."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import TwinsError
from .info import CheckpointInfo, identify, identify_head
from .keys import OPENMMLAB, dialect_of, part_of, public_names, without_wrappers
from .read import read_checkpoint, state_dict_of

_TRUNK = ("patch_embeds.", "blocks.", "pos_block.")
_STEM = "patch_embeds.0.proj.weight"
_PER_CLASS = re.compile(r"(?:^|\.)(?:head|conv_seg|retina_cls|fc_cls|fc_reg|conv_logits)\.(?:weight|bias)$")
_HEADS = {"norm", "head", "decode_head", "auxiliary_head", "neck", "bbox_head", "rpn_head", "roi_head"}


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
    weights = public_names(stored)
    state = model.state_dict()
    own_names = {without_wrappers(own_name): own_name for own_name in state}
    own = {key: state[own_name] for key, own_name in own_names.items()}

    fitted = {key: _fit(key, weights[key], own[key]) for key in own if key in weights}
    unused, unexpected = _left_over(weights, own)
    if strict and (refusal := _refusal(weights, own, unexpected)):
        raise TwinsError(f"{name} {refusal}")
    loaded = {own_names[key]: tensor for key, (tensor, _) in fitted.items() if tensor is not None}
    model.load_state_dict(loaded, strict=False)

    dialect = dialect_of(checkpoint, stored).name
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


def load_whole(model: nn.Module, info: CheckpointInfo, ema: bool | None = None) -> LoadReport:
    """As `load_weights`, for a network that is not trained any more: each of its parameters must be in the checkpoint.

    `ema` takes the moving average that the checkpoint keeps, or leaves it; by default it is taken where there is one,
    since that is what its run evaluated. Raises TwinsError for what `load_weights` refuses, and for parameters that are
    missing.
    """
    report = load_weights(model, info.checkpoint, ema=info.has_ema if ema is None else ema, name=info.source)
    if report.missing:
        raise TwinsError(
            f"{info.source}: lacks {len(report.missing)} of the network's parameters, {report.missing[-1]} among them: "
            "weights of another --task or --model are for training to start from (--weights)"
        )
    return report


def _fit(key: str, stored: Tensor, own: Tensor) -> tuple[Tensor | None, str | None]:
    """The tensor to load, if there is one, and the rule in words where the shapes differ."""
    if stored.shape == own.shape:
        return stored, None
    other_channels = own.shape[:1] + stored.shape[1:2] + own.shape[2:]
    if key == _STEM and stored.shape == other_channels and stored.numel():
        return _for_channels(stored, own.shape[1])
    return None, f"{tuple(stored.shape)} in the file, {tuple(own.shape)} here, left as it was"


def _for_channels(stem: Tensor, channels: int) -> tuple[Tensor, str]:
    """A stem that reads `channels` channels, with the same output for a grey image as before.

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
    parts = {part_of(key) for key in own}
    left = [key for key in weights if key not in own]
    unused = {key for key in left if part_of(key) not in parts and ("." in part_of(key) or part_of(key) in _HEADS)}
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
    if dialect == OPENMMLAB.name:
        yield "OpenMMLab computes every LayerNorm with eps 1e-5: norm_eps=1e-5 in create_model reproduces that"
    if any(key.startswith("norm_list.") for key in unused) and "norm_list.0.weight" not in own:
        yield "these weights expect a norm after each stage: stage_norms=True in create_model adds it"
    if averages:
        yield "the file holds averaged weights too: ema=True loads those"


def _shortened(names: Collection[str]) -> str:
    """Up to four names in full; of more, how many each part of the network has."""
    if len(names) <= 4:
        return ", ".join(names)
    parts = Counter(part_of(without_wrappers(name)) for name in names)
    shown = [f"{part} ({count})" for part, count in parts.items()]
    return ", ".join(shown if len(shown) <= 8 else [*shown[:8], "..."])

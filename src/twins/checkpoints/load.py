"""Weights of every dialect into a network, with a report of what became of each."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..class_names import numbered
from ..errors import TwinsError
from .files import name_of
from .info import CheckpointInfo, describe, head_of, variant_like, variant_of
from .keys import HEADS, OPENMMLAB, dialect_of, is_bloated, part_of, public_names, without_wrappers
from .per_class import PER_CLASS, ClassMap
from .read import read_checkpoint
from .timm_copy import TIMM, timms_copy
from .unpickle import stubs_in
from .usable import not_finite, unusable
from .weights import FoundWeights, find_weights, other_networks

_TRUNK = ("patch_embeds.", "blocks.", "pos_block.")
_STEM = "patch_embeds.0.proj.weight"


@dataclass(frozen=True)
class LoadReport:
    """What a checkpoint held and what became of it; `str(report)` is the short text for people.

    `matched`, `reshaped` (other shapes: name -> what was done) and `missing` (not in the file, left as they were)
    share out the model's own names. `unused` (known parts that this model does not have) and `unexpected` are what is
    left of the file, under public names. `not_read` are the classes of objects in the file that were not made.
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
    kind: str | None = None  # for people: the variant, or the one that the network departs from
    taken: str = ""  # of several things in the file, the key of these weights; "" where it is a usual one
    averaged: bool = False  # whether these are a moving average
    not_read: tuple[str, ...] = ()

    def __str__(self) -> str:
        groups = ("matched", "reshaped", "missing", "unused", "unexpected")
        lines = [
            ", ".join(f"{len(getattr(self, group))} {group}" for group in groups),
            f"from {self.source}: {self.kind or self.variant or 'none of the six networks'}, dialect: {self.dialect}",
        ]
        lines += [f"taken: {self.origin}"] if self.origin else []
        lines += [f"reshaped {name}: {rule}" for name, rule in self.reshaped.items()]
        lines += [f"{group}: {_shortened(names)}" for group in groups[2:] if (names := getattr(self, group))]
        lines += [f"not read: {_shortened_list(self.not_read)}"] if self.not_read else []
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(lines)

    @property
    def remarks(self) -> list[str]:
        """What is to be said wherever these weights are used: which they are, and what of the file was not read."""
        origin = [f"weights: {self.origin}"] if self.origin else []
        return origin + ([f"not read in {self.source}: {_shortened_list(self.not_read)}"] if self.not_read else [])

    @property
    def origin(self) -> str:
        """Which of the weights in the file these are, in words; "" for what is under a usual key and no average."""
        average = "the moving average" if self.averaged else ""
        return ", ".join(filter(None, (average, self.taken)))


def load_weights(
    model: nn.Module,
    source: str | os.PathLike[str] | Mapping[str, Any] | CheckpointInfo,
    strict: bool = True,
    ema: bool = False,
    name: str = "the given dictionary",
    classes: Sequence[str] = (),
) -> LoadReport:
    """Load a checkpoint of any dialect into a classifier, a backbone, or a model that holds one as `backbone`.

    Parameters
    ----------
    source:
        A file, or what `read_checkpoint` or `read_info` made of one, or a state dict. "timm" means timm's own copy of
        the published ImageNet weights, which timm downloads.
    strict:
        The trunk (patch embeddings, blocks, positional encodings) must be the model's, parameter for parameter; other
        parts that the file lacks keep their initialisation and are reported. False loads whatever fits.
    ema:
        Take the averaged weights that some trainings store beside the plain ones.
    name:
        What the report and errors call a source that is not a file.
    classes:
        The names of the model's classes, in order. Where the file names its own, the rows of its head go to the classes
        of the same names, and others keep their initialisation; where no name is the same, and as many are there, the
        head is taken as it is.

    A layer for another number of classes is left as it was, a stem for other input channels is converted (see
    `_for_channels`), nothing else is reshaped. Device, dtype and requires_grad of the model stay what they were.

    Raises TwinsError, with the model untouched, for what `read_checkpoint` refuses, for weights or averages that are
    not there or not reached, and in strict mode for the weights of another network, for values that are not finite, or
    with a head of another kind or width.
    """
    if isinstance(source, CheckpointInfo):
        checkpoint, name = source.checkpoint, source.source
    elif isinstance(source, Mapping):
        checkpoint = source
    elif source == TIMM:
        checkpoint, name = timms_copy(model.state_dict()), "timm's copy"
    else:
        checkpoint, name = read_checkpoint(source), name_of(source)
    fit = _fit_to(model, checkpoint, ema, name, strict, classes)
    model.load_state_dict(fit.loaded(), strict=False)
    return fit.report(model, checkpoint)


def load_whole(model: nn.Module, info: CheckpointInfo, ema: bool | None = None) -> LoadReport:
    """As `load_weights`, for a network that is not trained any more: the checkpoint must have all its parameters.

    `ema` takes the moving average that the checkpoint keeps, or leaves it; by default it is taken where there is one,
    since that is what its run evaluated. Raises TwinsError, with the model untouched, for what `load_weights` refuses,
    for parameters that are missing, and for those of another shape.
    """
    fit = _fit_to(model, info.checkpoint, info.has_ema if ema is None else ema, info.source, strict=True)
    if fit.missing:
        raise TwinsError(
            f"{info.source}: lacks {len(fit.missing)} of the network's parameters, {fit.missing[-1]} among them: "
            "weights of another --task or --model are for training to start from (--weights)"
        )
    for name, rule in fit.reshaped.items():
        raise TwinsError(f"{info.source}: holds weights of another network than is meant: {name} {rule}")
    model.load_state_dict(fit.loaded(), strict=False)
    return fit.report(model, info.checkpoint)


class _Fit(NamedTuple):
    """How the weights of a checkpoint go into a model."""

    source: str
    found: FoundWeights
    weights: Mapping[str, Tensor]  # by public names
    own_names: Mapping[str, str]  # of the model's tensors, by public names
    fitted: Mapping[str, tuple[Tensor | None, str | None]]  # by public names: what to load, and how it was changed
    unused: tuple[str, ...]
    unexpected: tuple[str, ...]
    notes: tuple[str, ...]

    def loaded(self) -> dict[str, Tensor]:
        """A state dict for the model."""
        return {self.own_names[key]: tensor for key, (tensor, _) in self.fitted.items() if tensor is not None}

    @property
    def missing(self) -> tuple[str, ...]:
        return tuple(own_name for key, own_name in self.own_names.items() if key not in self.fitted)

    @property
    def reshaped(self) -> dict[str, str]:
        return {self.own_names[key]: rule for key, (_, rule) in self.fitted.items() if rule is not None}

    def report(self, model: nn.Module, checkpoint: Mapping[str, Any]) -> LoadReport:
        dialect = dialect_of(checkpoint, self.found.tensors).name
        return LoadReport(
            source=self.source,
            dialect=dialect,
            variant=variant_of(self.weights),
            matched=tuple(self.own_names[key] for key, (_, rule) in self.fitted.items() if rule is None),
            missing=self.missing,
            unexpected=self.unexpected,
            unused=self.unused,
            reshaped=self.reshaped,
            notes=(*self.notes, *_notes(model, dialect, self.unused, self.own_names, checkpoint, self.found)),
            kind=variant_like(checkpoint, self.weights),
            taken="" if self.found.usual else self.found.key,
            averaged=self.found.averaged,
            not_read=stubs_in(checkpoint),
        )


def _fit_to(
    model: nn.Module, checkpoint: Mapping[str, Any], ema: bool, name: str, strict: bool, classes: Sequence[str] = ()
) -> _Fit:
    """Raises TwinsError where the weights are another network's, or cannot be used."""
    state = model.state_dict()
    own_names = {without_wrappers(own_name): own_name for own_name in state}
    own = {key: state[own_name] for key, own_name in own_names.items()}
    found = find_weights(checkpoint, ema, name, own)
    if found is None:
        raise TwinsError(f"{name} holds no averaged weights: leave out ema" if ema else f"{name} holds no weights")
    weights = public_names(found.tensors, name)
    fitted = {key: _fit(key, weights[key], own[key]) for key in own if key in weights}
    unused, unexpected = _left_over(weights, own)
    if strict and (refusal := _refusal(weights, own, unexpected)):
        raise TwinsError(f"{name} {refusal}")
    if problem := unusable({key: weights[key] for key in fitted}, own):
        raise TwinsError(f"{name}: {problem}")
    notes: tuple[str, ...] = ()
    if classes:
        of_file = describe(checkpoint, name)
        has_names = of_file.classes_named or of_file.classes != numbered(len(of_file.classes))
        by_name = ClassMap(of_file.classes if has_names else (), tuple(classes))
        fitted |= by_name.mapped({key: (weights[key], own[key]) for key in fitted if PER_CLASS.search(key)})
        notes = by_name.notes(len(of_file.classes))
    if problem := not_finite({key: tensor for key, (tensor, _) in fitted.items() if tensor is not None}):
        if strict:
            raise TwinsError(f"{name}: {problem}: these weights are of no use, take an earlier checkpoint")
        notes = (*notes, problem)
    return _Fit(name, found, weights, own_names, fitted, unused, unexpected, notes)


def _fit(key: str, stored: Tensor, own: Tensor) -> tuple[Tensor | None, str | None]:
    """The tensor to load, if there is one, and the rule in words where the shapes differ."""
    if stored.shape == own.shape:
        return stored, None
    other_channels = own.shape[:1] + stored.shape[1:2] + own.shape[2:]
    if key == _STEM and stored.shape == other_channels and stored.numel() and not is_bloated(stored):
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
    unused = {key for key in left if part_of(key) not in parts and ("." in part_of(key) or part_of(key) in HEADS)}
    return tuple(key for key in left if key in unused), tuple(key for key in left if key not in unused)


def _refusal(weights: Mapping[str, Tensor], own: Mapping[str, Tensor], unexpected: Iterable[str]) -> str | None:
    """Why these are another network's weights, if they are; missing heads and other class counts are no reason."""
    problems = [f"{key} is not in the file" for key in own if key.startswith(_TRUNK) and key not in weights]
    problems += [
        f"{key} is {tuple(weights[key].shape)} in the file and {tuple(own[key].shape)} here"
        for key in own
        if key in weights and _fit(key, weights[key], own[key])[0] is None and not PER_CLASS.search(key)
    ]
    problems += [f"{key} is in the file only" for key in unexpected if key.startswith(_TRUNK)]
    theirs, ours = variant_of(weights), variant_of(own)
    if problems and theirs and theirs != ours:
        this = f"a {ours}" if ours else "none of the six networks"
        return f"holds {theirs} weights, this model is {this}: create it as {theirs}"
    # A head of another kind shares no name with this one: it would pass for a head that the file lacks.
    their_head, our_head = head_of(weights), head_of(own)
    if their_head and our_head and their_head[:2] != our_head[:2]:
        return f"holds {their_head}, this model is {our_head}: create it alike, or load the file into its backbone"
    if not problems:
        return None
    if not any(key.startswith(_TRUNK) for key in weights):
        return f"holds no Twins weights but {_shortened(weights)}"
    more = f"; {len(problems) - 3} more such" if len(problems) > 3 else ""
    return f"does not fit this model: {'; '.join(problems[:3])}{more}"


def _notes(
    model: nn.Module,
    dialect: str,
    unused: Iterable[str],
    own: Collection[str],
    checkpoint: Mapping[str, Any],
    found: FoundWeights,
) -> Iterator[str]:
    has_their_epsilon = any(isinstance(m, nn.LayerNorm) and m.eps == OPENMMLAB.norm_eps for m in _block_norms(model))
    if dialect == OPENMMLAB.name and not has_their_epsilon:
        yield "OpenMMLab computes every LayerNorm with eps 1e-5: norm_eps=1e-5 in create_model reproduces that"
    if any(key.startswith("norm_list.") for key in unused) and "norm_list.0.weight" not in own:
        yield "these weights expect a norm after each stage: stage_norms=True in create_model adds it"
    if not found.averaged and find_weights(checkpoint, ema=True) is not None:
        yield "the file holds averaged weights too: ema=True loads those"
    if others := other_networks(checkpoint, found):
        yield f"the file holds other networks too, not taken: {', '.join(others)} (FILE#KEY takes one)"


def _block_norms(model: nn.Module) -> Iterator[nn.Module]:
    return (module for name, module in model.named_modules() if name.endswith(".norm1"))


def _shortened_list(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _shortened(names: Collection[str]) -> str:
    """Up to four names in full; of more, how many each part of the network has."""
    if len(names) <= 4:
        return ", ".join(names)
    parts = Counter(part_of(without_wrappers(name)) for name in names)
    shown = [f"{part} ({count})" for part, count in parts.items()]
    return ", ".join(shown if len(shown) <= 8 else [*shown[:8], "..."])

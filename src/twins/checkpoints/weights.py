"""Where in a checkpoint the weights are: under which key, behind which prefix, and which of them are averages.

Training scripts agree on little more than that a state dict is a dictionary of tensors. It is found by the names of a
Twins network in it, whatever it is called and wherever it is nested, and what stands before those names is taken off.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import TwinsError
from .keys import known_part, without_wrappers
from .pickle_stand_ins import Stub

# Where most training scripts keep the weights, and a running average of them; these go before other keys.
_USUAL = ("", "model", "state_dict", "model_state_dict")
_USUAL_AVERAGES = ("model_ema", "state_dict_ema", "ema_state_dict")
_AVERAGE_WORDS = {"ema", "swa", "average", "averaged", "polyak"}
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_KNOWN_WRAPPERS = {"module", "_orig_mod", "model", "backbone"}
_STEM = re.compile(r"((?:.*\.)?)patch_embeds\.0\.proj(?:ection)?\.weight")
_TRUNK = re.compile(r"((?:.*\.)?)(?:patch_embeds\.\d+\.proj(?:ection)?|pos_block\.\d+\.proj\.0)\.weight")
_DEPTH = 5  # of nested mappings that are looked through
_MAPPINGS = 10_000  # and so many of them at most

_SPARSE = "sparse: save it with .to_dense()"
_QUANTISED = "quantised: save it with .dequantize(), or the weights from before"
_NESTED = "a nested tensor: save plain ones"
# Tensors that are no plain ones, by the functions of PyTorch that make them.
_ODD_TENSORS = {
    "_rebuild_sparse_tensor": _SPARSE,
    "_rebuild_qtensor": _QUANTISED,
    "_rebuild_nested_tensor": _NESTED,
    "NestedTensor": _NESTED,
    "DTensor": "a shard (DTensor): save the whole state dict, as torch.distributed.checkpoint.state_dict's "
    "get_model_state_dict with full_state_dict=True gives it",
}


class FoundWeights(NamedTuple):
    """One network's tensors in a checkpoint, by the names that the file has, foreign prefixes taken off."""

    key: str  # where: "state_dict", "state_dict.teacher", "" for the file itself
    averaged: bool
    tensors: dict[str, Any]  # a tensor, or the stub of one

    @property
    def usual(self) -> bool:
        """Whether the key is one that goes before others."""
        return self.key in (_USUAL_AVERAGES if self.averaged else _USUAL)


def state_dict_of(checkpoint: Mapping[str, Any], ema: bool = False) -> dict[str, Tensor]:
    """The weights among a checkpoint's many things, or the averaged ones; empty where there are none."""
    found = find_weights(checkpoint, ema)
    return {} if found is None else found.tensors


def find_weights(
    checkpoint: Mapping[str, Any],
    ema: bool = False,
    source: str = "the given dictionary",
    own: Mapping[str, Tensor] | None = None,
) -> FoundWeights | None:
    """The weights in a checkpoint, or the averaged ones, if there are any; plain ones before averages.

    `own` are the tensors of the network that they are meant for: they decide between networks of different shapes.
    Raises TwinsError, naming `source`, where two networks differ and nothing says which is meant, and for tensors
    of kinds that are not read.
    """
    found = list(_networks(checkpoint)) or list(_any_tensors(checkpoint))
    averaged = [one for one in found if one.averaged]
    plain = [one for one in found if not one.averaged]
    choice = averaged if ema else plain or averaged
    choice = [one for one in choice if one.usual] or choice
    if own is not None:
        choice = [one for one in choice if _fits(one, own)] or choice
    if not choice:
        return None
    first, *others = choice
    for other in others:
        if not _same(first, other):
            keys = ", ".join(repr(one.key or "(the file itself)") for one in choice)
            raise TwinsError(
                f"{source} holds several networks with different weights, {keys}: say which one is meant, as "
                f"in --weights FILE#{others[-1].key or first.key}"
            )
    return first._replace(tensors=_plain_tensors(first.tensors, source))


def part_of_checkpoint(checkpoint: Mapping[str, Any], key: str, source: str) -> dict[str, Any]:
    """What stands under one key, dotted where it is nested, as a checkpoint of its own; the rest but weights stays.

    Raises TwinsError where there are no weights under it.
    """
    found = {one.key: one for one in [*_networks(checkpoint), *_any_tensors(checkpoint)]}
    if key not in found:
        raise TwinsError(f"{source}: no weights under {key!r}; there is {', '.join(map(repr, filter(None, found)))}")
    return {"state_dict": found[key].tensors}


def holds_tensors(checkpoint: Mapping[str, Any]) -> bool:
    """Whether there is anything that could be weights."""
    return next(_state_dicts(checkpoint), None) is not None


def other_networks(checkpoint: Mapping[str, Any], taken: FoundWeights) -> tuple[str, ...]:
    """The keys of the networks beside the one that was taken, other than averages of it."""
    return tuple(one.key for one in _networks(checkpoint) if one.key != taken.key and one.averaged == taken.averaged)


def _networks(checkpoint: Mapping[str, Any]) -> Iterator[FoundWeights]:
    """Every Twins network in a checkpoint."""
    averages_are_swapped = isinstance(meta := checkpoint.get("meta"), Mapping) and "mmengine_version" in meta
    for path, state in _state_dicts(checkpoint):
        prefixes = _prefixes(state)
        for prefix in prefixes:
            key = ".".join((*path, *filter(None, [prefix.rstrip(".")] if len(prefixes) > 1 else [])))
            averaged = _is_average((*path, prefix))
            if averages_are_swapped and path == ("ema_state_dict",):
                continue  # MMEngine saves the average as state_dict, and what was averaged as this
            yield FoundWeights(key, averaged, _behind(prefix, prefixes, state))


def _any_tensors(checkpoint: Mapping[str, Any]) -> Iterator[FoundWeights]:
    """For want of a Twins network, the first tensors under a usual key."""
    for key in (*_USUAL[1:], "", *_USUAL_AVERAGES):
        state = checkpoint if key == "" else checkpoint.get(key)
        if isinstance(state, Mapping) and (tensors := _tensors(state)):
            yield FoundWeights(key, key in _USUAL_AVERAGES, tensors)
            if key not in _USUAL_AVERAGES:
                yield from _any_average(checkpoint)
            return


def _any_average(checkpoint: Mapping[str, Any]) -> Iterator[FoundWeights]:
    for key in _USUAL_AVERAGES:
        if isinstance(state := checkpoint.get(key), Mapping) and (tensors := _tensors(state)):
            yield FoundWeights(key, True, tensors)
            return


def _state_dicts(checkpoint: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every mapping with tensors in it, and the keys that lead there, from the outermost inwards."""
    left: list[tuple[tuple[str, ...], Mapping[str, Any]]] = [((), checkpoint)]
    for path, mapping in left:
        state = _module_state(mapping) or _tensors(mapping)
        if state:
            yield path, state
        if len(path) == _DEPTH or "_modules" in mapping:
            continue
        for key, value in mapping.items():
            if isinstance(key, str) and isinstance(value, Mapping) and len(left) < _MAPPINGS:
                left.append(((*path, key), value))


def _tensors(mapping: Mapping[Any, Any]) -> dict[str, Any]:
    """The tensors of a mapping, if it has any, and the stubs beside them that stand for tensors or whole networks."""
    items = {key: item for key, item in mapping.items() if isinstance(key, str) and isinstance(item, (Tensor, Stub))}
    odd = any(isinstance(item, Stub) and known_part(key) for key, item in items.items())
    return items if odd or any(isinstance(item, Tensor) for item in items.values()) else {}


def _module_state(module: Any, prefix: str = "", depth: int = 0) -> dict[str, Any]:
    """The parameters and buffers of a module that was saved as an object, by their names in it."""
    if not isinstance(module, Stub) or not isinstance(module.get("_modules"), Mapping) or depth > 20:
        return {}
    state: dict[str, Any] = {}
    for kind in ("_parameters", "_buffers"):
        own = module.get(kind)
        state |= {
            f"{prefix}{name}": t for name, t in (own.items() if isinstance(own, Mapping) else ()) if t is not None
        }
    for name, child in module["_modules"].items():
        state |= _module_state(child, f"{prefix}{name}.", depth + 1)
    return state


def _prefixes(state: Mapping[str, Any]) -> list[str]:
    """What stands before the names of each network in a state dict."""
    stems = [found[1] for key in state if (found := _STEM.fullmatch(key))]
    return list(dict.fromkeys(stems or [found[1] for key in state if (found := _TRUNK.fullmatch(key))]))


def _is_average(words: tuple[str, ...]) -> bool:
    return any(word.lower() in _AVERAGE_WORDS for word in _WORD.findall(" ".join(words)))


def _behind(prefix: str, prefixes: list[str], state: Mapping[str, Any]) -> dict[str, Any]:
    """One network's tensors, without the prefix, and what is no network's."""
    foreign = _foreign(prefix)
    if not foreign and len(prefixes) == 1:  # as a rule
        return dict(state)
    named: dict[str, Any] = {}
    for key, item in state.items():
        owner = max((p for p in prefixes if key.startswith(p)), key=len, default=None)
        if owner in (None, prefix):
            named[key.removeprefix(_common(foreign, key))] = item
    return named


def _foreign(prefix: str) -> str:
    """The prefix up to its last word that is none of the wrappers that `keys` takes off: "net.backbone." -> "net."."""
    words = prefix.split(".")[:-1]
    last = max((i for i, word in enumerate(words) if word not in _KNOWN_WRAPPERS), default=-1)
    return "".join(f"{word}." for word in words[: last + 1])


def _common(prefix: str, key: str) -> str:
    """The longest start of a prefix, in whole words, that a key begins with too."""
    while not key.startswith(prefix):
        prefix = prefix[: prefix.rstrip(".").rfind(".") + 1]
    return prefix


def _fits(found: FoundWeights, own: Mapping[str, Tensor]) -> bool:
    """Whether each patch embedding and positional encoding of a network is in these weights, in its shape."""
    named = {without_wrappers(key): item for key, item in found.tensors.items()}
    return all(
        isinstance(item := named.get(key), Tensor) and item.shape == tensor.shape
        for key, tensor in own.items()
        if key.startswith(("pos_block.", "patch_embeds.")) and key in named
    ) and {key for key in named if key.startswith("blocks.")} == {key for key in own if key.startswith("blocks.")}


def _same(one: FoundWeights, other: FoundWeights) -> bool:
    """Whether two networks hold the same tensors wherever they use the same names."""
    a, b = ({without_wrappers(key): item for key, item in found.tensors.items()} for found in (one, other))
    common = [key for key in a if key in b and known_part(key)]
    return all(
        isinstance(a[key], Tensor)
        and isinstance(b[key], Tensor)
        and a[key].shape == b[key].shape
        and torch.equal(a[key], b[key])
        for key in common
    )


def _plain_tensors(items: Mapping[str, Any], source: str) -> dict[str, Tensor]:
    """The tensors alone. Raises TwinsError for what is a tensor of another kind, or none, in the place of one."""
    for key, item in items.items():
        if known_part(key) and (kind := _odd_kind(item)):
            raise TwinsError(f"{source}: {key} is {kind}")
    return {key: item for key, item in items.items() if isinstance(item, Tensor)}


def _odd_kind(item: Any) -> str | None:
    """What is wrong with something in the place of a plain tensor, and the remedy."""
    if isinstance(item, Stub):
        kind = next((kind for name, kind in _ODD_TENSORS.items() if item.name.endswith(name)), None)
        return kind or f"a {item.name}, which is no tensor: refused, and nothing in it was run"
    if item.is_nested:
        return _NESTED
    if item.is_quantized:
        return _QUANTISED
    if item.layout is not torch.strided:
        return _SPARSE
    return _ODD_TENSORS.get(type(item).__name__)  # a DTensor

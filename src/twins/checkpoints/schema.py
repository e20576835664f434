"""The fields of a checkpoint of ours, checked once where it is read: under their names a file may hold anything.

What passes is of the type that the rest of the package counts on, and claims no network that is out of all proportion
to the weights in the file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from reprlib import repr as shortened
from typing import Any, NamedTuple

from torch import Tensor

from ..errors import TwinsError
from ..model import VARIANTS

HEADS = {"segment": ("upernet", "semantic_fpn"), "detect": ("mask_rcnn", "retinanet")}
TASKS = ("classify", *HEADS)

_LARGEST_SETTING = 4096  # of a network, beyond what the file's own tensors measure: more than any published one has


class _Field(NamedTuple):
    """What a field holds, in words, and whether a value is that."""

    holds: str
    fits: Callable[[Any], bool]


def _one_of(*names: str) -> _Field:
    return _Field(f"one of {', '.join(names)}", lambda value: isinstance(value, str) and value in names)


def _list_of(kind: type, words: str) -> _Field:
    return _Field(f"a list of {words}", lambda v: isinstance(v, list | tuple) and all(type(item) is kind for item in v))


def _whole_number(least: int) -> _Field:
    return _Field(f"a whole number from {least} up", lambda value: type(value) is int and least <= value < 2**53)


def _table(of: Callable[[Any], bool] = lambda value: True, words: str = "fields by name") -> _Field:
    return _Field(
        words,
        lambda value: isinstance(value, Mapping) and all(isinstance(k, str) and of(v) for k, v in value.items()),
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    return _is_number(value) and (isinstance(value, int) or math.isfinite(value))


def _is_setting(value: Any) -> bool:
    """Whether a keyword of a network may have this value: a name, a number, or a list of numbers."""
    if isinstance(value, list | tuple):
        return all(map(_is_finite, value))
    return value is None or isinstance(value, str | bool) or _is_finite(value)


def _is_field_of_recipe(value: Any) -> bool:
    """Whether a recipe may hold this: a name, a number, a list of these, or keywords of a network."""
    if isinstance(value, Mapping):
        return all(isinstance(keyword, str) and _is_setting(setting) for keyword, setting in value.items())
    return all(item is None or isinstance(item, str | bool) or _is_finite(item) for item in _items(value))


def _items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else (value,)


def _is_optimizer_state(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and isinstance(value.get("state"), Mapping)
        and all(type(key) is int and isinstance(state, Mapping) for key, state in value["state"].items())
        and isinstance(value.get("param_groups"), list)
        and all(
            isinstance(group, Mapping) and isinstance(group.get("params"), list) and _is_number(group.get("lr"))
            for group in value["param_groups"]
        )
    )


def _is_split(value: Any) -> bool:
    names_alone = isinstance(value, Mapping) and _list_of(str, "names").fits(value.get("val"))
    return names_alone and (value.get("images", "") is None or _whole_number(0).fits(value.get("images")))


_FIELDS_OF_META = {
    "task": _one_of(*TASKS),
    "name": _one_of(*VARIANTS),
    "head": _one_of(*HEADS["segment"]),
    "detector": _one_of(*HEADS["detect"]),
    "create_model": _table(_is_setting, "keywords of a network, each a name, a number or a list of numbers"),
    "classes": _list_of(str, "names"),
    "category_ids": _list_of(int, "whole numbers"),
    "preprocessing": _table(),
    "recipe": _table(_is_field_of_recipe, "fields by name, each a name, a number or a list of these"),
    "split": _Field("the names of validation images, `val`, and a count of all `images`", _is_split),
}

# Among the keywords of a network; `channels` may be None, for those that are published.
_SETTINGS = {"num_classes": _whole_number(0)} | dict.fromkeys(
    ("in_chans", "channels", "box_channels", "proposals", "rpn_samples", "box_samples"), _whole_number(1)
)
_SETTINGS["head_drop"] = _Field("a number from 0 to 1", lambda value: _is_number(value) and 0 <= value <= 1)

_FIELDS_OF_TRAINING = {
    "epoch": _whole_number(-1),
    "step": _whole_number(0),
    "samples": _whole_number(0),
    "global_batch": _whole_number(0),
    "training_images": _whole_number(0),
    "optimizer": _Field("the state of an optimiser, with `state` and `param_groups`", _is_optimizer_state),
    "lr_scheduler": _table(),
    "scaler": _table(),
    "totals": _table(_is_number, "sums by name"),
    "under_way": _table(_is_number, "sums by name"),
    "best": _table(),
    "meta": _table(),
}


def check_meta(meta: Mapping[str, Any], weights: Mapping[str, Tensor], source: str) -> None:
    """Raises TwinsError, naming file and field, for what no run of ours writes into a checkpoint of these `weights`."""
    check_facts(meta, f"{source}: meta")
    _check_proportions(meta["create_model"], weights, source)


def check_facts(facts: Mapping[str, Any], where: str) -> None:
    """Raises TwinsError, beginning with `where`, for fields that hold what no file of ours says of its network."""
    _check(facts, _FIELDS_OF_META, where, required=("create_model",))
    task, settings = facts.get("task"), facts["create_model"]
    required = tuple(name for name in _SETTINGS if name in settings)
    _check(settings, _SETTINGS, f"{where}.create_model", required)
    if task in HEADS and (facts.get("head") or facts.get("detector")) not in HEADS[task]:
        raise TwinsError(f"{where} names no head ({' or '.join(HEADS[task])}), which a network to {task} has")
    for name in ("classes", "category_ids"):
        count = settings.get("num_classes")
        if facts.get(name) and count and len(facts[name]) != count:
            raise TwinsError(f"{where} has {len(facts[name])} {name} for a network of {count} classes")


def check_training_fields(checkpoint: Mapping[str, Any], source: str) -> None:
    """Raises TwinsError, naming file and field, for what no run writes into a checkpoint that is to be resumed."""
    _check(checkpoint, _FIELDS_OF_TRAINING, source, required=("epoch", "optimizer"))


def _check(fields: Mapping[str, Any], known: Mapping[str, _Field], where: str, required: Sequence[str]) -> None:
    """Raises TwinsError for a field that holds something else; those not required may be missing, or None."""
    for name, field in known.items():
        value = fields.get(name)
        if value is None and name in required:
            raise TwinsError(f"{where}: has no `{name}` ({field.holds}): the file is damaged")
        if value is not None and not field.fits(value):
            raise TwinsError(f"{where}: {name} holds {shortened(value)}, not {field.holds}: the file is damaged")


def _check_proportions(settings: Mapping[str, Any], weights: Mapping[str, Tensor], source: str) -> None:
    """Raises TwinsError for keywords that would make a network far larger than the file's."""
    longest = max((size for tensor in weights.values() for size in tensor.shape), default=0)
    for name, value in settings.items():
        numbers = [n for n in (value if isinstance(value, list | tuple) else [value]) if _is_number(n)]
        within = all(0 <= n <= max(longest, _LARGEST_SETTING) for n in numbers)
        if name == "depths":
            within = within and sum(numbers) <= len(weights)
        if not within:
            raise TwinsError(f"{source}: meta claims {name}={shortened(value)}, far more than the file has weights for")

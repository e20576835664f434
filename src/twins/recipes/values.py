"""The values that a recipe's fields take: of which type, between which bounds. One check, whoever gives the value.

A flag's value has been through argparse; a file's or a checkpoint's may be anything.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Sequence
from pathlib import PurePath
from reprlib import repr as shortened
from typing import Any

from ..errors import TwinsError, nearest
from .fields import ANY

_hints_of: dict[type[Any], dict[str, Any]] = {}


def hints_of(cls: type[Any]) -> dict[str, Any]:
    """The types of a recipe's fields, by name; worked out once."""
    if cls not in _hints_of:
        _hints_of[cls] = typing.get_type_hints(cls)
    return _hints_of[cls]


def without_none(hint: Any) -> Any:
    """The type of a field that can be switched off, when it is not; other types as they are."""
    if isinstance(hint, types.UnionType) and types.NoneType in typing.get_args(hint):
        return next(part for part in typing.get_args(hint) if part is not types.NoneType)
    return hint


def value_type(hint: Any) -> Any:
    """str, int, float, bool or dict: of the field itself, or of each of several values."""
    hint = typing.get_args(hint)[0] if takes_one_or_several(hint) else without_none(hint)
    if takes_several(hint):
        return typing.get_args(hint)[0]
    return typing.get_origin(hint) or hint


def takes_several(hint: Any) -> bool:
    """Whether a field of this type holds a tuple."""
    return typing.get_origin(without_none(hint)) is tuple


def takes_one_or_several(hint: Any) -> bool:
    """Whether a field of this type holds a value or a tuple of such, as `int | tuple[int, int]`."""
    return isinstance(hint, types.UnionType) and typing.get_origin(typing.get_args(hint)[-1]) is tuple


def check_value(field: dataclasses.Field[Any], hint: Any, value: Any) -> None:
    """Raises TwinsError for a value that a field of this type does not take."""
    name = "--" + field.name.replace("_", "-")
    _check_type(name, hint, value)
    if value is None:
        return
    (least, most), choices, check = (field.metadata[key] for key in ("within", "choices", "check"))
    values = value if isinstance(value, tuple) else (value,)
    for one in values if choices else ():
        if one not in choices:
            raise TwinsError(f"{name} must be one of {', '.join(choices)}, not {one!r}")
    for number in values if (least, most) != ANY else ():
        if not least <= number <= most:
            span = f"{least} or more" if most == math.inf else f"between {least} and {most}"
            raise TwinsError(f"{name} must be {span}, not {number!r}")
    if check is not None:
        check(value)


_KINDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "a table of settings, each text, a number or a list of these",
}
_LARGEST = 2**63 - 1  # of whole numbers: what PyTorch and NumPy count with


def _check_type(name: str, hint: Any, value: Any) -> None:
    """Raises TwinsError for a value of another type: what a file says is not what argparse made of a flag."""
    if value is None and without_none(hint) is not hint:
        return
    kind, several = value_type(hint), takes_several(hint)
    if takes_one_or_several(hint):
        several = isinstance(value, tuple)
    values = value if several and isinstance(value, tuple) else [value]
    if several != isinstance(value, tuple) or not all(_is_of(kind, one) for one in values):
        what = f"a list, each {_KINDS[kind]}" if several else _KINDS[kind]
        raise TwinsError(f"{name} takes {what}, not {shortened(value)}")


def _is_of(kind: type, value: Any) -> bool:
    if kind is float and isinstance(value, float):
        return math.isfinite(value)
    if kind in (int, float):
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST
    if kind is dict:
        return isinstance(value, dict) and all(isinstance(k, str) and _is_setting(v) for k, v in value.items())
    if kind is str:
        return isinstance(value, str) and _can_be_written(value)
    return isinstance(value, kind)


def _is_setting(value: Any) -> bool:
    """Whether a keyword of a network may be this: text, a number, or a list of these."""
    items = value if isinstance(value, list | tuple) else (value,)
    return all(item is None or any(_is_of(kind, item) for kind in (bool, float, str)) for item in items)


def _can_be_written(text: str) -> bool:
    """Whether it can be a file's name and a line of one: JSON and pickles hold strings that cannot."""
    try:
        return b"\0" not in text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return False


# Devices by PyTorch's names; whether one is there, only PyTorch can tell.
_DEVICES = ("auto", "cpu", "cuda", "mps", "xpu", "hpu", "mtia", "xla")


def check_device_name(name: str) -> None:
    """Raises TwinsError for a name that is none of a device: neither "cpu" nor "cuda:1" nor the like."""
    kind = name.partition(":")[0]
    if kind not in _DEVICES:
        hint = nearest(kind, _DEVICES)
        raise TwinsError(f"--device {name}: no such device{hint}; use auto, cuda, cuda:N, mps or cpu")


def check_betas(betas: Sequence[float]) -> None:
    """Raises TwinsError unless these are the decays of an optimiser's moving averages: Adam's two, Adan's three."""
    if len(betas) not in (2, 3) or max(betas) >= 1:
        raise TwinsError(f"--opt-betas takes two or three numbers below 1, not {' '.join(map(str, betas)) or 'none'}")


_LONGEST_PATH = 4000  # bytes
_LONGEST_NAME = 200  # bytes: file systems take 255, of which a number and the name of a file being written are a part


def check_path(path: str) -> None:
    """Raises TwinsError for a path that no file system can hold."""
    if any(len(part.encode(errors="surrogateescape")) > 255 for part in PurePath(path).parts):
        raise TwinsError(f"{shortened(path)}: a file name of more than 255 bytes, which no file can have")
    if len(path.encode(errors="surrogateescape")) > _LONGEST_PATH:
        raise TwinsError(f"{shortened(path)}: a path of more than {_LONGEST_PATH} bytes")


def check_run_name(name: str) -> None:
    """Raises TwinsError for a name that is no folder's, or of a folder elsewhere."""
    if folder_name(name) != name:
        raise TwinsError(f"--name {shortened(name)}: takes the name of a folder, without / or \\; --output says where")


def folder_name(name: str) -> str:
    """What a run's name comes to as the name of one folder, wherever it came from."""
    kept = "".join(character if character.isprintable() and character not in "/\\" else "-" for character in name)
    kept = kept.strip(" .")
    while len(kept.encode(errors="surrogateescape")) > _LONGEST_NAME:
        kept = kept[:-1]
    return kept or "run"

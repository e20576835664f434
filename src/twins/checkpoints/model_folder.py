"""Folders as the Hugging Face hub holds models: `config.json` says what the network is, beside it are its weights.

A folder that `twins.save_pretrained` wrote has a checkpoint's `meta` in it. One that timm wrote names timm's network,
with timm's conventions: windows padded with zeros.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

from ..errors import TwinsError
from ..model_names import MODEL_NAMES, model_name
from .files import CONFIG, WEIGHTS_BESIDE_CONFIG

OURS = "twins"  # the section of config.json with what timm has no fields for
FORMAT = "twins-folder-1"

_STAGES = ("embed_dims", "num_heads", "mlp_ratios", "depths", "sr_ratios")  # called alike by timm and here


def stated_beside(weights: Path) -> dict[str, Any]:
    """What the config.json beside a file of weights says of them, as fields of a checkpoint; {} if it says nothing.

    `meta` is as in a checkpoint of ours, and `config_file` where it is from. Only the names that weights have in
    such folders count, and a config.json of another program is none. Raises TwinsError for a damaged one.
    """
    file = weights.parent / CONFIG
    if not weights.name.startswith(WEIGHTS_BESIDE_CONFIG) or not file.is_file():
        return {}
    config = _read(file)
    if OURS in config:
        return {"format": FORMAT, "meta": _meta_of_ours(config, file), "config_file": str(file)}
    name = _network_of(config.get("architecture"))
    return {} if name is None else {"meta": _meta_of_timm(config, name, file), "config_file": str(file)}


def is_ours(folder: Path) -> bool:
    """Whether a folder is one that `twins.save_pretrained` wrote."""
    try:
        return OURS in _read(folder / CONFIG)
    except TwinsError:
        return False


def _read(file: Path) -> dict[str, Any]:
    try:
        config = _tuples(json.loads(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise TwinsError(f"{file}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise TwinsError(f"{file}: is no JSON, so it is damaged: download or copy it again") from error
    if not isinstance(config, dict):
        raise TwinsError(f"{file}: holds no fields by name, so it is damaged: download or copy it again")
    return config


def _network_of(architecture: Any) -> str | None:
    """Which of the six an architecture of timm's is, "twins_svt_small.in1k" or "alt_gvt_small"; None for any other."""
    try:
        return model_name(str(architecture).partition(".")[0])
    except TwinsError:
        return None


def _meta_of_ours(config: Mapping[str, Any], file: Path) -> dict[str, Any]:
    section = config[OURS] if isinstance(config[OURS], Mapping) else {}
    if section.get("format") != FORMAT:
        found = shortened(section.get("format"))
        raise TwinsError(
            f"{file}: {OURS}.format is {found}, and this version reads {FORMAT!r}: write the folder again, or pip "
            "install --upgrade twins-vit"
        )
    meta = section.get("meta")
    if not isinstance(meta, dict) or "create_model" not in meta:
        raise TwinsError(f"{file}: {OURS}.meta says nothing of its network: the file is damaged")
    names = config.get("label_names")
    return meta if names is None else {**meta, "classes": names}


def _meta_of_timm(config: Mapping[str, Any], name: str, file: Path) -> dict[str, Any]:
    """Our `meta` for a folder of timm's making; its first format has all fields side by side."""
    preprocessing, arguments = config.get("pretrained_cfg", config), config.get("model_args") or {}
    if not isinstance(preprocessing, Mapping) or not isinstance(arguments, Mapping):
        raise TwinsError(f"{file}: pretrained_cfg and model_args are fields by name: the file is damaged")
    channels, *sides = _input_size(preprocessing.get("input_size", (3, 224, 224)), file)
    settings = {
        "num_classes": config.get("num_classes", preprocessing.get("num_classes", 1000)),
        "in_chans": arguments.get("in_chans", channels),
        **{keyword: arguments[keyword] for keyword in _STAGES if keyword in arguments},
        **_windows(arguments, str(config["architecture"]), file),
    }
    meta = {"name": name, "create_model": settings}
    if settings["num_classes"] == 0:  # a backbone
        return meta
    stated = {k: preprocessing[k] for k in ("crop_pct", "mean", "std") if preprocessing.get(k) is not None}
    meta |= {"task": "classify", "preprocessing": {"img_size": _square_or_rectangle(sides), **stated}}
    names = _class_names(config.get("label_names", preprocessing.get("label_names")), file)
    return meta if names is None else {**meta, "classes": names}


def _windows(arguments: Mapping[str, Any], architecture: str, file: Path) -> dict[str, Any]:
    """How the network's windows are: timm's own pads with zeros, and may have another side in each stage."""
    if architecture.partition(".")[0] not in MODEL_NAMES:  # ours, registered by `import twins.timm`
        return {keyword: arguments[keyword] for keyword in ("window_padding", "window_size") if keyword in arguments}
    settings: dict[str, Any] = {"window_padding": "zero"}
    if "wss" in arguments:
        sides = arguments["wss"] if isinstance(arguments["wss"], tuple) else (arguments["wss"],)
        if not all(type(side) is int for side in sides) or len(set(sides)) != 1:
            wrong = shortened(arguments["wss"])
            raise TwinsError(f"{file}: model_args.wss is {wrong}: windows are of one size in all stages here")
        settings["window_size"] = sides[0]
    return settings


def _input_size(value: Any, file: Path) -> tuple[int, ...]:
    """(channels, height, width)."""
    if not isinstance(value, list | tuple) or len(value) != 3 or not all(type(n) is int for n in value):
        raise TwinsError(
            f"{file}: input_size is channels, height and width, not {shortened(value)}: the file is damaged"
        )
    return tuple(value)


def _square_or_rectangle(sides: Sequence[int]) -> int | tuple[int, ...]:
    return sides[0] if sides[0] == sides[1] else tuple(sides)


def _class_names(label_names: Any, file: Path) -> Any:
    """One name for each class, in order; timm also writes them as a dictionary by the classes' numbers."""
    if not isinstance(label_names, Mapping):
        return label_names
    numbers = [str(label) for label in range(len(label_names))]
    if {*label_names} != {*numbers}:
        raise TwinsError(f"{file}: label_names does not name the classes from 0 to {len(label_names) - 1}")
    return tuple(label_names[number] for number in numbers)


def _tuples(value: Any) -> Any:
    """The same with tuples where JSON has lists, as checkpoints have them."""
    if isinstance(value, Mapping):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value

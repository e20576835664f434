"""`config.json` of a model folder: timm's fields, and in a section of its own what timm has no fields for."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

import torch

from ..checkpoints.info import CheckpointInfo
from ..checkpoints.model_folder import FORMAT, OURS
from ..class_names import numbered
from ..model import VARIANTS
from ..preprocessing import ClassifyPreprocessing
from .timm_network import model_args
from .validation import Validation


def config_of(info: CheckpointInfo, validation: Validation | None, license_name: str) -> dict[str, Any]:
    """All that config.json says of a network, in plain values; of a segmenter or detector timm reads nothing.

    The classes' names are in `label_names` alone, so that there is one place to change them. What a run remembers of
    single images (its split) is left out, and of paths all but the last part: neither is for the public.
    """
    assert info.model is not None
    count = info.create_model["num_classes"]
    widths = info.architecture.get("embed_dims", VARIANTS[info.model].embed_dims)
    named = info.classes != numbered(count)
    return {
        "architecture": info.head or info.model,
        "num_classes": count,
        "num_features": widths[-1],
        **({"label_names": list(info.classes)} if named else {}),
        **(_for_timm(info, license_name) if info.task == "classify" else {}),
        OURS: {"format": FORMAT, "meta": _meta_of(info, validation), "versions": versions()},
    }


def versions() -> dict[str, str]:
    """Of what wrote the folder."""
    from .. import __version__

    return {"twins": __version__, "torch": str(torch.__version__)}


def _for_timm(info: CheckpointInfo, license_name: str) -> dict[str, Any]:
    """The fields by which timm makes a classifier and its images."""
    from ..data.classify.transforms import SMALL  # needs torchvision, so not before it is used

    ready = info.preprocessing
    assert isinstance(ready, ClassifyPreprocessing)
    is_small = max(ready.size) <= SMALL  # then nothing is cropped
    return {
        "global_pool": "avg",
        "model_args": model_args(info),
        "pretrained_cfg": {
            "custom_load": False,
            "input_size": [len(ready.mean), *ready.size],
            "fixed_input_size": False,  # any size runs; timm's network checks a size only if it is told one
            "interpolation": "bicubic",
            "crop_pct": 1.0 if is_small else ready.crop_pct,
            "crop_mode": "squash" if is_small else "center",
            "mean": list(ready.mean),
            "std": list(ready.std),
            "num_classes": info.create_model["num_classes"],
            "pool_size": None,
            "first_conv": "patch_embeds.0.proj",
            "classifier": "head",
            "license": license_name,
        },
    }


def _meta_of(info: CheckpointInfo, validation: Validation | None) -> dict[str, Any]:
    """A checkpoint's `meta`, whose fields `checkpoints.schema` lists."""
    assert info.preprocessing is not None
    settings = {**info.create_model, "window_padding": info.window_padding}
    meta: dict[str, Any] = {"task": info.task, "name": info.model, "create_model": settings}
    if info.head is not None:
        meta["head" if info.task == "segment" else "detector"] = info.head
    if info.task == "detect":
        meta["category_ids"] = list(info.category_ids)
    meta["preprocessing"] = info.preprocessing.to_dict()
    if info.recipe is not None:
        meta["recipe"] = {name: _last_part(value) for name, value in info.recipe.items()}
    if validation is not None:
        meta["validation"] = validation._asdict()
    return meta


def _last_part(value: Any) -> Any:
    """Of a path from the root the last part: folders of one machine say nothing elsewhere, and may name people."""
    return PurePath(value).name if isinstance(value, str) and PurePath(value).is_absolute() else value

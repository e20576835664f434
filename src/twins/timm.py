"""The six networks for timm: `import twins.timm`, and timm.create_model knows the names of the original repository.

`alt_gvt_small`, `pcpvt_base` and the others are made by timm's own builder from our network, so that timm's scripts,
`features_only` and the libraries built on timm can use it. timm's `twins_*` names remain timm's.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn

from .model import VARIANTS, Twins
from .preprocessing import IMAGENET_MEAN, IMAGENET_STD

ORIGINAL_NAMES = {
    "pcpvt_small_v0": "twins_pcpvt_small",
    "pcpvt_base_v0": "twins_pcpvt_base",
    "pcpvt_large_v0": "twins_pcpvt_large",
    "pcpvt_small": "twins_pcpvt_small",
    "pcpvt_base": "twins_pcpvt_base",
    "pcpvt_large": "twins_pcpvt_large",
    "alt_gvt_small": "twins_svt_small",
    "alt_gvt_base": "twins_svt_base",
    "alt_gvt_large": "twins_svt_large",
}

# The published evaluation: short side to 256, centre crop of 224. Any other size runs too, so none is fixed.
_PREPROCESSING = {
    "input_size": (3, 224, 224),
    "crop_pct": 224 / 256,
    "interpolation": "bicubic",
    "mean": IMAGENET_MEAN,
    "std": IMAGENET_STD,
    "num_classes": 1000,
    "pool_size": None,
    "first_conv": "patch_embeds.0.proj",
    "classifier": "head",
    "license": "apache-2.0",
    "paper_ids": "arXiv:2104.13840",
}

# register_model looks for a module variable of this name
default_cfgs = generate_default_cfgs(dict.fromkeys(ORIGINAL_NAMES, _PREPROCESSING))


def _network(
    img_size: int | tuple[int, int] | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    **settings: Any,
) -> Twins:
    """A classifier made with the keywords that timm passes to every network; `img_size` is unused: any size runs."""
    with nullcontext() if device is None else torch.device(device):
        return Twins(**settings).to(dtype=dtype)


def _entrypoint(name: str, variant: str) -> Callable[..., nn.Module]:
    def make(pretrained: bool = False, **keywords: Any) -> nn.Module:
        settings = VARIANTS[variant]._asdict() | keywords
        features = {"feature_cls": "getter", "out_indices": 4}
        model: nn.Module = build_model_with_cfg(_network, name, pretrained, feature_cfg=features, **settings)
        return model

    make.__name__ = make.__qualname__ = name  # under which register_model lists it
    return make


for _name, _variant in ORIGINAL_NAMES.items():
    globals()[_name] = register_model(_entrypoint(_name, _variant))

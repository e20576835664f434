"""The network of a case, ours and timm's, and its weights: a published one by its name, or a checkpoint's own."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import torch
from torch import nn

from ..checkpoints.info import read_info
from ..checkpoints.load import load_whole
from ..errors import TwinsError
from ..optional_dependencies import need
from ..preprocessing import ClassifyPreprocessing, Size
from ..zoo import create_model
from .plan import Backend, Case
from .runners import Weights


class _Settings(NamedTuple):
    """What makes a network: one of the six names, and keywords of `create_model`."""

    name: str
    keywords: dict[str, Any]


def draw_weights(case: Case) -> Weights:
    """Weights as large as trained ones, biases and norms among them, always the same.

    As a network is initialised its biases are zero and its attention is all but uniform: much could be wrong unseen.
    """
    rng = torch.Generator().manual_seed(0)
    weights = {}
    for name, weight in our_network(case).state_dict().items():
        drawn = torch.randn(weight.shape, generator=rng)
        if weight.ndim > 1:
            weights[name] = drawn * weight[0].numel() ** -0.5
        else:
            weights[name] = 0.1 * drawn + float(name.endswith("weight"))
    return weights


def weights_of(case: Case) -> Weights:
    """The checkpoint's where the case is of one, else drawn ones."""
    if not case.of_checkpoint:
        return draw_weights(case)
    info = read_info(case.network)
    model = create_model(str(info.model), **info.create_model)
    load_whole(model, info)
    return model.state_dict()


def our_network(case: Case, weights: Weights | None = None, window_padding: str | None = None) -> nn.Module:
    """The case's classifier or backbone in plain PyTorch, holding these very weights.

    Without weights it is on the meta device, that is shapes alone. Windows are padded as a checkpoint says, and those
    of published networks with zeros, unless `window_padding` is given.
    """
    settings = _settings(case)
    keywords = settings.keywords if window_padding is None else settings.keywords | {"window_padding": window_padding}
    with torch.device("meta"):  # saves the time of drawing weights that are not used
        model = create_model(settings.name, features_only=case.workload == "backbone", **keywords).eval()
    if weights is not None:
        model.load_state_dict(weights, assign=True)
    return model


def timm_network(case: Case, weights: Weights | None = None) -> nn.Module:
    """timm's network of the same name, holding these very weights; without any on the meta device."""
    timm = need("timm", extra="bench")
    settings = _settings(case)
    shared = {name: settings.keywords[name] for name in ("num_classes", "in_chans") if name in settings.keywords}
    with torch.device("meta"):
        features_only = case.workload == "backbone"
        model: nn.Module = timm.create_model(settings.name, features_only=features_only, **shared).eval()
    inner = model.get_submodule("model") if features_only else model
    if weights is not None:
        inner.load_state_dict(weights, assign=True)
    return model


def unlike_timms(backend: Backend, case: Case) -> str | None:
    """Why timm cannot run a checkpoint, in a line, or None if it can."""
    if not (case.of_checkpoint and backend.engine in ("timm", "timm-compiled")):
        return None
    ours, theirs = (
        {name: weight.shape for name, weight in make(case).state_dict().items()} for make in (our_network, timm_network)
    )
    return None if ours == theirs else f"timm's {_settings(case).name} has other parameters than {case.network}"


def image_shape(case: Case) -> tuple[int, int, int]:
    """(C, H, W) of the images."""
    return (_settings(case).keywords.get("in_chans", 3), *case.size)


def classifier_size(checkpoint: str) -> Size:
    """(height, width) of the images that a checkpoint's classifier is evaluated on. Raises TwinsError for others."""
    info = read_info(checkpoint)
    if info.model is None or not isinstance(info.preprocessing, ClassifyPreprocessing):
        raise TwinsError(f"--weights {checkpoint}: not a checkpoint of a classifier whose network is known")
    return info.preprocessing.size


def _settings(case: Case) -> _Settings:
    if not case.of_checkpoint:
        return _Settings(case.network, {"window_padding": "zero"})
    return _settings_of(case.network)


@cache
def _settings_of(checkpoint: str) -> _Settings:
    info = read_info(checkpoint)
    return _Settings(str(info.model), dict(info.create_model))

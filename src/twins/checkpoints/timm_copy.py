"""timm's own copy of the published ImageNet weights, for whoever has no file of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..errors import TwinsError
from ..optional_dependencies import need
from .info import identify

TIMM = "timm"  # in the place of a file; one of that name is ./timm


def timms_copy(own: Mapping[str, Tensor]) -> dict[str, Any]:
    """What timm has for the network with these weights, as a checkpoint; downloaded by timm unless it is there already.

    Raises TwinsError where timm is missing, has no weights of that network, or does not reach them.
    """
    network = identify(own)
    if network is None:
        raise TwinsError(f"weights {TIMM!r}: timm has those of the six published networks, and this is none of them")
    timm = need("timm", extra="train")
    try:
        return {"model": timm.create_model(network, pretrained=True).state_dict()}
    except Exception as error:  # what several libraries of networks and files raise: there is no common class
        raise TwinsError(
            f"weights {TIMM!r}: timm did not get its {network} ({_in_a_line(error)}); download timm/{network}.in1k "
            "from huggingface.co where that is reached, and name the file"
        ) from error


def _in_a_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__

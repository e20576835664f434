"""timm's own Twins network beside ours: how its keywords say the same, and where it computes something else.

timm pads windows with zeros and has LayerNorms of epsilon 1e-6; its windows have a side for each stage.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..checkpoints.info import CheckpointInfo
from ..model import PATCH_SIZES, VARIANTS
from ..preprocessing import ClassifyPreprocessing, Size

_EPS = 1e-6


class TimmReading(NamedTuple):
    """What timm's own network makes of our weights."""

    same: bool  # whether it computes the same for images of the classifier's own size
    note: str  # where it does not, in a line; "" if nowhere


def model_args(info: CheckpointInfo) -> dict[str, Any]:
    """The keywords of timm's network for a classifier of ours, those of the published one left out."""
    arguments = {name: list(value) for name, value in info.architecture.items() if isinstance(value, list | tuple)}
    if info.architecture.get("window_size") is not None:
        arguments["wss"] = [info.architecture["window_size"]] * len(PATCH_SIZES)
    in_chans = info.create_model.get("in_chans", 3)
    return arguments if in_chans == 3 else {**arguments, "in_chans": in_chans}


def reading_of(info: CheckpointInfo) -> TimmReading:
    """How far timm's own network computes what a classifier of ours does."""
    assert isinstance(info.preprocessing, ClassifyPreprocessing)
    assert info.model is not None
    published, size = VARIANTS[info.model].window_size, info.preprocessing.size
    window = info.architecture.get("window_size", published)
    if window == 1 or (window is None and published is not None):
        return TimmReading(
            False, f"timm's {info.model} has no such attention (window_size={window}): it cannot load it"
        )
    if info.norm_eps != _EPS:
        return TimmReading(
            False, f"timm's {info.model} computes something else: its LayerNorm eps is {_EPS:g}, here {info.norm_eps:g}"
        )
    if window is None or info.window_padding == "zero":
        return TimmReading(True, "")
    height, width = size
    if _divides(window, size):
        return TimmReading(
            True,
            f"timm's {info.model} computes the same at {height}x{width}; at sizes where windows of {window} stick out "
            f"of a map it pads them with zeros, here: {info.window_padding}",
        )
    return TimmReading(
        False,
        f"timm's {info.model} computes something else at {height}x{width}: windows of {window} stick out of a map, "
        f"timm pads them with zeros, here: {info.window_padding}",
    )


def _divides(window: int, size: Size) -> bool:
    """Whether whole windows cover the maps of all stages of an image."""
    for patch in PATCH_SIZES:
        size = max(size[0] // patch, 1), max(size[1] // patch, 1)
        if size[0] % window or size[1] % window:
            return False
    return True

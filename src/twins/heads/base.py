"""What segmenters and detectors share: a backbone under their heads, and timm's model interface for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from torch import nn

from ..checkpoints.load import load_weights
from ..errors import TwinsError
from ..model import VARIANTS, TwinsBackbone
from ..zoo import create_model, model_name


class DenseModel(nn.Module):
    """A network that holds a `backbone` with heads beside it. The methods are timm's model interface."""

    backbone: TwinsBackbone
    load_report: Any = None  # of the weights that the network was created with, if any

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """See `Stages.set_grad_checkpointing`; the heads keep their maps."""
        self.backbone.set_grad_checkpointing(enable)

    def freeze_stages(self, count: int) -> list[nn.Module]:
        """See `Stages.freeze_stages`, which raises ValueError for more stages than there are."""
        return self.backbone.freeze_stages(count)

    def no_weight_decay(self) -> set[str]:
        """Parameters, beside norms and biases, that the published training does not decay."""
        return {f"backbone.{name}" for name in self.backbone.no_weight_decay()}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """The backbone's patterns; timm puts what none of them matches, here neck and heads, into the last layer."""
        matcher = self.backbone.group_matcher(coarse)
        blocks = [(_in_backbone(pattern), order) for pattern, order in matcher["blocks"]]
        return {"stem": _in_backbone(matcher["stem"]), "blocks": blocks}

    def with_weights(self, weights: str | Path | None) -> Self:
        """The same network once a checkpoint, if one is named, is loaded; the report is kept as `load_report`."""
        if weights is not None:
            self.load_report = load_weights(self, weights)
        return self


def dense_backbone(name: str, settings: dict[str, Any], stages: tuple[int, ...] = (0, 1, 2, 3)) -> TwinsBackbone:
    """The backbone that answers the maps of these stages, by keywords of `create_model`.

    Stage norms are on for SVT and off for PCPVT, as published, unless `stage_norms` says otherwise. Raises TwinsError
    for an unknown name or keyword, and for values that make no network.
    """
    for keyword in ("features_only", "out_indices", "num_stages"):
        if keyword in settings:
            raise TwinsError(f"{name}: the heads say which stages they read: leave out {keyword}")
    has_windows = VARIANTS[model_name(name)].window_size is not None
    backbone = create_model(name, features_only=True, out_indices=stages, **{"stage_norms": has_windows} | settings)
    assert isinstance(backbone, TwinsBackbone)
    return backbone


def _in_backbone(pattern: str) -> str:
    return pattern.replace("^", r"^backbone\.", 1)

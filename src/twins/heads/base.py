"""What segmenters and detectors share: a backbone under their heads, and timm's model interface."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from torch import nn

from ..checkpoints.load import LoadReport, load_weights
from ..errors import TwinsError
from ..model import VARIANTS, TwinsBackbone
from ..zoo import create_model, model_name


class DenseModel(nn.Module):
    """A network of a `backbone` and heads. The methods are those by which timm and the training loop set a model up."""

    backbone: TwinsBackbone
    load_report: LoadReport | None = None  # of the weights that the network was created with, if any

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """See `Stages.set_grad_checkpointing`; the heads keep their activations."""
        self.backbone.set_grad_checkpointing(enable)

    def freeze_stages(self, count: int) -> list[nn.Module]:
        """See `Stages.freeze_stages`. Returns the frozen modules. Raises ValueError for more stages than there are."""
        return self.backbone.freeze_stages(count)

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters, beside norms and biases, that the published training does not decay."""
        return {f"backbone.{name}" for name in self.backbone.no_weight_decay()}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """The backbone's patterns for layer-wise learning rates: `stem`, a regular expression, and a list of `blocks`.

        timm puts what none of them matches, here neck and heads, into the last layer.
        """
        matcher = self.backbone.group_matcher(coarse)
        blocks = [(_in_backbone(pattern), order) for pattern, order in matcher["blocks"]]
        return {"stem": _in_backbone(matcher["stem"]), "blocks": blocks}

    def with_weights(self, weights: str | Path | None, classes: Sequence[str] = ()) -> Self:
        """This network, with the weights of a checkpoint if one is named; the report is kept as `load_report`.

        `classes` are the names of its classes, by which rows of another head are taken; see `load_weights`. Raises
        TwinsError for a file that cannot be read or does not fit.
        """
        if weights is not None:
            self.load_report = load_weights(self, weights, classes=classes)
        return self


def dense_backbone(name: str, settings: dict[str, Any], stages: tuple[int, ...] = (0, 1, 2, 3)) -> TwinsBackbone:
    """The backbone with the maps of these stages as outputs, (B, C_s, H_s, W_s) at strides 4, 8, 16, 32.

    `settings` are keywords of `create_model`. Stage norms are on for SVT and off for PCPVT, as published, unless
    `stage_norms` says otherwise. Raises TwinsError for an unknown name or keyword, and for values that make no network.
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

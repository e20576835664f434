"""Which network a job uses, in words that another process can load it by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import TwinsError
from ...recipes.classify import DECODERS
from ..loading import load_embedder, load_predictor
from ..predictors import ClassifyPredictor, Predictor


@dataclass(frozen=True)
class JobNetwork:
    """The arguments of `load_predictor`; or of `load_embedder`, where `embed` is the dtype of vectors in the rows."""

    weights: str
    device: str = "auto"
    ema: bool | None = None
    model: str | None = None
    classes: tuple[str, ...] | None = None
    dtype: str | None = None
    embed: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int | None = None  # None: the predictor's own
    decoder: str = DECODERS[0]

    def load(self) -> Predictor[Any]:
        """Raises TwinsError as these and `use_decoder` do, and for batches where the network takes single images."""
        if self.embed is None:
            predictor = load_predictor(
                self.weights, self.device, self.ema, self.model, self.classes, self.dtype, **self.settings
            )
        else:
            predictor = load_embedder(self.weights, self.device, self.ema, self.model, self.dtype, **self.settings)
        if self.batch_size is not None:
            if predictor.batch_size < ClassifyPredictor.batch_size and self.batch_size > 1:
                raise TwinsError(
                    "--batch-size is for classifiers: images of other sizes, as segmenters and detectors see them, "
                    "would have to be padded, and have other predictions then"
                )
            predictor.batch_size = self.batch_size
        predictor.use_decoder(self.decoder)
        return predictor

    def facts(self) -> dict[str, Any]:
        """What of it makes the rows what they are, beside the weights; where and how fast it runs does not."""
        chosen = {"ema": self.ema, "model": self.model, "classes": self.classes, "dtype": self.dtype}
        return {**chosen, "embed_dtype": self.embed, "decoder": self.decoder, **self.settings}

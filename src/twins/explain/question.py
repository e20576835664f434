"""What `twins predict --explain` is asked, and whether this network and these images can give it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..data.images import UnreadableImageError, read_header, width_x_height
from ..errors import TwinsError, nearest
from ..predict import ImageFile, Predictor
from .cam import METHODS
from .observed import stages_of

KINDS = (*METHODS, "attention")


class Question(NamedTuple):
    """What is to be explained, and how."""

    kind: str = "gradcam"  # of KINDS
    class_name: str | None = None  # the class to explain; None: what is predicted
    at: tuple[int, int] | None = None  # X, Y: a pixel of the upright image as it came
    stage: int = -1  # whose map Grad-CAM and LayerCAM take, from 0; -1 is the last

    def check(self, predictor: Predictor[Any], files: Sequence[ImageFile]) -> None:
        """Raises TwinsError for what this network has no answer to, and for a pixel outside one of the images."""
        stages = len(stages_of(predictor.model).blocks)
        if not -stages <= self.stage < stages:
            raise TwinsError(f"--explain-stage must lie in 0..{stages - 1}, or be -1 for the last, not {self.stage}")
        if self.class_name is not None:
            if self.kind == "attention":
                raise TwinsError("--explain-class is for gradcam and layercam: attention is of no class; leave it out")
            if self.class_name not in predictor.classes:
                hint = nearest(self.class_name, predictor.classes)
                known = f"none of the {len(predictor.classes)} classes of {predictor.info.source}"
                raise TwinsError(f"--explain-class {self.class_name!r} is {known}{hint}")
        if self.at is not None:
            for file in files:
                self._check_pixel(file, predictor)

    def _check_pixel(self, file: ImageFile, predictor: Predictor[Any]) -> None:
        assert self.at is not None
        try:
            height, width = read_header(file.path, predictor.reading).size
        except UnreadableImageError:
            return  # which prediction will say, or skip
        if not (0 <= self.at[0] < width and 0 <= self.at[1] < height):
            raise TwinsError(
                f"--explain-at {self.at[0]},{self.at[1]} lies outside {file.path}, {width_x_height((height, width))}: "
                f"X must be in 0..{width - 1}, Y in 0..{height - 1}"
            )

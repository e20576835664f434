"""Trained networks that are asked what they say of images. Nothing here writes a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

import torch
from PIL import Image, ImageOps
from torch import Tensor, nn
from torchvision.transforms.functional import pil_to_tensor

from ..checkpoints.info import Trained, read_trained
from ..checkpoints.load import load_whole
from ..data.classify.transforms import eval_transform
from ..data.images import read_image
from ..data.masks.transforms import mask_eval_transform
from ..distributed.world import choose_device
from ..errors import TwinsError, nearest
from ..heads.detection import DETECTORS, SURE
from ..heads.segmentation import SEGMENTERS
from ..heads.sliding_window import best_class, slide_logits
from ..preprocessing import ClassifyPreprocessing, DetectPreprocessing, SegmentPreprocessing
from ..recipes import DetectRecipe, SegmentRecipe
from ..zoo import create_model, model_name
from .predictions import Classified, Detected, Segmented

ImageSource = str | os.PathLike | Image.Image
P = TypeVar("P")


class Predictor(Generic[P]):
    """A trained network; called with an image, or a sequence of them, it answers what it says of each.

    An image is a file or a PIL image, which is turned upright if its EXIF tag says so. It is made ready as the
    checkpoint tells: as in the evaluation of the network's own run.

    Raises UnreadableImageError for a file that is missing or no image.
    """

    at_once = 1  # images that go through the network together

    def __init__(self, trained: Trained, network: nn.Module, device: torch.device, ema: bool | None) -> None:
        self.trained, self.classes, self.device = trained, trained.classes, device
        self.channels: int = trained.meta["create_model"].get("in_chans", 3)
        load_whole(network, trained.checkpoint, trained.source, ema)
        self.network = network.to(device).eval()

    @overload
    def __call__(self, images: ImageSource) -> P: ...  # type: ignore[overload-overlap]  # a str is one image
    @overload
    def __call__(self, images: Sequence[ImageSource]) -> list[P]: ...
    def __call__(self, images: ImageSource | Sequence[ImageSource]) -> P | list[P]:
        if isinstance(images, ImageSource):
            return self([images])[0]
        answers = []
        for start in range(0, len(images), self.at_once):
            opened = [self.read(image) for image in images[start : start + self.at_once]]
            with torch.no_grad():
                answers += self.answers(opened)
        return answers

    @property
    def name(self) -> str:
        """That of the run which trained it, or else of the network."""
        return self.trained.settings.get("name") or self.trained.meta["name"]

    def read(self, image: ImageSource) -> Image.Image:
        """The upright image, with the channels that the network takes. Raises UnreadableImageError."""
        if isinstance(image, Image.Image):
            return ImageOps.exif_transpose(image).convert("L" if self.channels == 1 else "RGB")
        return read_image(Path(image), self.channels)

    def answers(self, images: Sequence[Image.Image]) -> list[P]:
        """What the network says of at most `at_once` images, as `read` answers them."""
        raise NotImplementedError


class ClassifyPredictor(Predictor[Classified]):
    """`topk` is how many classes an answer names."""

    at_once = 16  # few enough to hold the photos themselves in memory, tens of megabytes each

    def __init__(self, trained: Trained, device: torch.device, ema: bool | None, topk: int = 5) -> None:
        if topk < 1:
            raise TwinsError(f"--topk must be 1 or more, not {topk}")
        super().__init__(trained, create_model(trained.meta["name"], **trained.meta["create_model"]), device, ema)
        self.topk = topk
        self.transform = eval_transform(ClassifyPreprocessing(**trained.meta["preprocessing"]))

    def answers(self, images: Sequence[Image.Image]) -> list[Classified]:
        batch = torch.stack([self.transform(image) for image in images]).to(self.device)
        probabilities = self.network(batch).float().softmax(dim=1).cpu()
        return [Classified(self.classes, row, self.topk) for row in probabilities]


class SegmentPredictor(Predictor[Segmented]):
    """With `slide` images are seen by squares of that side, `slide_stride` apart; as in its run if not given."""

    def __init__(self, trained: Trained, device: torch.device, ema: bool | None, **windows: Any) -> None:
        told = {name: trained.settings.get(name) for name in ("slide", "slide_stride") if "slide" not in windows}
        recipe = SegmentRecipe().replace(**(told | windows))
        self.slide, self.stride = recipe.slide, recipe.slide_stride
        meta = trained.meta
        network = SEGMENTERS[meta["head"]](meta["name"], auxiliary=False, **meta["create_model"])
        super().__init__(trained, network, device, ema)
        self.transform = mask_eval_transform(SegmentPreprocessing(**meta["preprocessing"]))

    def answers(self, images: Sequence[Image.Image]) -> list[Segmented]:
        return [Segmented(self.classes, self._mask(image).cpu()) for image in images]

    def _mask(self, image: Image.Image) -> Tensor:
        no_mask = torch.empty(0)
        (view,), _ = self.transform(image, no_mask)
        view = view.to(self.device)
        if self.slide is None:
            logits = self.network(view[None])[0]
        else:
            logits = slide_logits(self.network, view, self.slide, self.stride)
        return best_class(logits.float(), (image.height, image.width))


class DetectPredictor(Predictor[Detected]):
    """Answers what scores more than `conf`; `iou` and `max_det` are as in its run if not given."""

    def __init__(self, trained: Trained, device: torch.device, ema: bool | None, **selection: Any) -> None:
        told = {name: trained.settings[name] for name in ("iou", "max_det") if name in trained.settings}
        recipe = DetectRecipe(conf=SURE).replace(**(told | selection))
        meta = trained.meta
        network = DETECTORS[meta["detector"]](
            meta["name"],
            **meta["create_model"],
            **DetectPreprocessing(**meta["preprocessing"]).of_network(),
            score_thresh=recipe.conf,
            nms_thresh=recipe.iou,
            detections_per_img=recipe.max_det,
        )
        super().__init__(trained, network, device, ema)

    @property
    def category_ids(self) -> list[int]:
        """What COCO's files call each class: as the data did that was trained on, else 1, 2, 3 ..."""
        return list(self.trained.meta.get("category_ids") or range(1, len(self.classes) + 1))

    def answers(self, images: Sequence[Image.Image]) -> list[Detected]:
        found = self.network([pil_to_tensor(image).to(self.device).float() / 255 for image in images])
        return [self._detected(**{name: values.cpu() for name, values in of_one.items()}) for of_one in found]

    def _detected(self, boxes: Tensor, scores: Tensor, labels: Tensor, masks: Tensor | None = None) -> Detected:
        return Detected(self.classes, boxes, scores, labels, None if masks is None else masks[:, 0])


_PREDICTORS: dict[str, Callable[..., Predictor[Any]]] = {
    "classify": ClassifyPredictor,
    "segment": SegmentPredictor,
    "detect": DetectPredictor,
}
_KINDS = {"classify": "classifier", "segment": "segmenter", "detect": "detector"}
_TASK_OF_SETTING = {
    "topk": "classify",
    "slide": "segment",
    "slide_stride": "segment",
    "conf": "detect",
    "iou": "detect",
    "max_det": "detect",
}


def load_predictor(
    weights: str | os.PathLike[str],
    device: str = "auto",
    ema: bool | None = None,
    model: str | None = None,
    classes: Sequence[str] | None = None,
    **settings: Any,
) -> Predictor[Any]:
    """The network of a checkpoint of any dialect, ready to be asked; see `Predictor` for how it is called.

    Parameters
    ----------
    weights:
        A file. Published weights and others that tell nothing of themselves are known by their names and shapes, and
        see images as the published networks do.
    device:
        auto (the best there is), cuda, cuda:N, mps or cpu.
    ema:
        Take the moving average that the file keeps, or leave it; by default it is taken where there is one.
    model:
        Which network it is, where the weights do not say.
    classes:
        Names, in place of those that the file tells or of numbers.
    settings:
        `topk` of a classifier, whose answers are `Classified`; `slide` and `slide_stride` of a segmenter (`Segmented`);
        `conf`, `iou` and `max_det` of a detector (`Detected`). They mean what the flags of `twins predict` do.

    Raises TwinsError for weights, a device or settings that cannot be used.
    """
    chosen = choose_device(device)
    trained = read_trained(weights, None if model is None else model_name(model), classes)
    task = trained.meta["task"]
    for name in settings:
        if name not in _TASK_OF_SETTING:
            raise TwinsError(f"no setting {name!r} of predictors{nearest(name, list(_TASK_OF_SETTING))}")
        meant_for = _TASK_OF_SETTING.get(name, task)
        if meant_for != task:
            flag = "--" + name.replace("_", "-")
            raise TwinsError(f"{flag} is for {_KINDS[meant_for]}s; {trained.source} is a {_KINDS[task]}")
    return _PREDICTORS[task](trained, chosen, ema, **settings)

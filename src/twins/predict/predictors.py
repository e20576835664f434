"""Networks of checkpoints, made ready to predict. Nothing here writes a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn
from torchvision.transforms.functional import pil_to_tensor

from ..checkpoints.info import CheckpointInfo, read_info
from ..checkpoints.load import load_whole
from ..data.classify.transforms import eval_transform
from ..data.images import USUAL_READING, ImageReading, UnreadableImageError, read_image
from ..data.masks.transforms import mask_eval_transform
from ..data.pixel_values import as_bytes
from ..errors import TwinsError, nearest
from ..heads.detection import DETECTORS, SURE
from ..heads.segmentation import SEGMENTERS
from ..heads.sliding_window import best_class, slide_logits
from ..preprocessing import ClassifyPreprocessing, DetectPreprocessing, SegmentPreprocessing
from ..recipes import NETWORK_OF_TASK, TASKS, DetectRecipe, Recipe, SegmentRecipe, fields_of, recipe_class
from ..recipes.values import folder_name
from ..zoo import create_model, model_name
from .computed import Computed
from .predictions import Classified, Detected, Segmented

ImageSource = str | os.PathLike | Image.Image | np.ndarray
Prediction = TypeVar("Prediction")


class Predictor(Generic[Prediction]):
    """A trained network that is called with images and returns its predictions for them; see `load_predictor`.

        predictor = twins.load("runs/detect/mine/checkpoint_best.pth")
        found = predictor("street.jpg")                     # Detected
        several = predictor(["a.jpg", Image.open("b.png")])  # [Detected, Detected]

    Attributes
    ----------
    info:
        What the checkpoint is.
    classes:
        The names of the classes, in the order of the network's outputs.
    device:
        Where the network is, and computes.
    channels:
        Of the images that the network sees: 3 (RGB) or 1 (grey).
    model:
        The network itself, in evaluation mode; what `transform` returns, it takes.
    load_report:
        What became of the weights, and which of the file's they are.
    batch_size:
        How many images go through the network together, however many it is called with.
    """

    batch_size = 1

    reading: ImageReading = USUAL_READING  # of files and PIL images

    def __init__(self, info: CheckpointInfo, model: nn.Module, computed: Computed, ema: bool | None) -> None:
        self.info, self.classes, self.device = info, info.classes, computed.device
        self.channels: int = info.create_model.get("in_chans", 3)
        self.load_report = load_whole(model, info, ema)
        self.model = computed.ready(model)

    @overload
    def __call__(self, images: ImageSource) -> Prediction: ...  # type: ignore[overload-overlap]  # a str is one image
    @overload
    def __call__(self, images: Sequence[ImageSource]) -> list[Prediction]: ...
    def __call__(self, images: ImageSource | Sequence[ImageSource]) -> Prediction | list[Prediction]:
        """Predict one image or several.

        Parameters
        ----------
        images:
            A file, a PIL image of any size and mode, an array of bytes (H, W) or (H, W, 3), grey or RGB, or a sequence
            of these. It is turned upright if its EXIF tag says so, converted to `channels`, and resized and normalised
            as in the evaluation of the network's own run.

        Returns
        -------
        `Classified`, `Segmented` or `Detected`, by the network's task: one for an image, a list in the same order for a
        sequence. Boxes and masks are in pixels of the upright image, as it came.

        Raises UnreadableImageError for a file that is missing or no image, and for pixels that cannot be read as bytes;
        TwinsError for an array of another dtype or shape, and for what is no image.
        """
        if isinstance(images, ImageSource) or not isinstance(images, Sequence):
            return self([images])[0]
        predictions = []
        for start in range(0, len(images), self.batch_size):
            opened = [self.read(image) for image in images[start : start + self.batch_size]]
            with torch.no_grad():
                predictions += self.predict_batch(opened)
        return predictions

    @property
    def name(self) -> str:
        """That of the run which trained the network, or else the network's, as "twins_svt_small"; fit for a folder."""
        return folder_name(str((self.info.recipe or {}).get("name") or self.info.model))

    def transform(self, image: ImageSource) -> Tensor:
        """What `model` sees of an image that `predictor(image)` takes: (channels, H, W) float32 on `device`.

        A classifier or segmenter takes a batch of it, `model(transform(image)[None])`. A detector takes a list,
        `model([transform(image)])`, of values in [0, 1] in the image's own size: it resizes and normalises itself.
        Raises what `predictor(image)` does.
        """
        return self.as_tensor(self.read(image)).to(self.device)

    def read(self, image: ImageSource) -> Image.Image:
        """An image as `predictor(image)` takes it -> the upright PIL image, RGB or grey; raises what that does."""
        if isinstance(image, str | os.PathLike):
            return read_image(Path(image), self.channels, self.reading)
        if isinstance(image, np.ndarray):
            image = _of_array(image)
        if not isinstance(image, Image.Image):
            raise TwinsError(f"an image is a file's path, a PIL image or an array, not a {type(image).__name__}")
        try:
            return as_bytes(ImageOps.exif_transpose(image), self.channels, self.reading.bit_depth)
        except ValueError as error:
            raise UnreadableImageError(f"PIL image of mode {image.mode}: {error}") from error

    def as_tensor(self, image: Image.Image) -> Tensor:
        """An image, as `read` returns it, as what `model` sees of it; see `transform`."""
        raise NotImplementedError

    def predict_batch(self, images: Sequence[Image.Image]) -> list[Prediction]:
        """The predictions for at most `batch_size` images, as `read` returns them."""
        raise NotImplementedError


class ClassifyPredictor(Predictor[Classified]):
    """Classifies; `topk` is how many classes a prediction names."""

    batch_size = 16  # few enough to hold the photos themselves in memory, tens of megabytes each

    def __init__(self, info: CheckpointInfo, computed: Computed, ema: bool | None, topk: int = 5) -> None:
        if topk < 1:
            raise TwinsError(f"--topk must be 1 or more, not {topk}")
        assert info.model is not None
        assert isinstance(info.preprocessing, ClassifyPreprocessing)
        super().__init__(info, create_model(info.model, **info.create_model), computed, ema)
        self.topk = topk
        self._eval_transform = eval_transform(info.preprocessing)

    def as_tensor(self, image: Image.Image) -> Tensor:
        return self._eval_transform(image)

    def predict_batch(self, images: Sequence[Image.Image]) -> list[Classified]:
        batch = torch.stack([self.as_tensor(image) for image in images]).to(self.device)
        probabilities = self.model(batch).float().softmax(dim=1).cpu()
        return [Classified(self.classes, row, self.topk) for row in probabilities]


class SegmentPredictor(Predictor[Segmented]):
    """Segments; with `slide` by squares of that side, `slide_stride` apart; as in the network's run if not given."""

    def __init__(self, info: CheckpointInfo, computed: Computed, ema: bool | None, **windows: Any) -> None:
        trained = info.recipe or {}
        of_its_run = {name: trained.get(name) for name in ("slide", "slide_stride") if "slide" not in windows}
        recipe = SegmentRecipe().replace(**(of_its_run | windows))
        self.slide, self.stride = recipe.slide, recipe.slide_stride
        assert info.head is not None
        assert isinstance(info.preprocessing, SegmentPreprocessing)
        super().__init__(info, SEGMENTERS[info.head](info.model, auxiliary=False, **info.create_model), computed, ema)
        self._eval_transform = mask_eval_transform(info.preprocessing)

    def as_tensor(self, image: Image.Image) -> Tensor:
        no_mask = torch.empty(0)
        (view,), _ = self._eval_transform(image, no_mask)
        return view

    def predict_batch(self, images: Sequence[Image.Image]) -> list[Segmented]:
        return [Segmented(self.classes, self._mask(image).cpu()) for image in images]

    def _mask(self, image: Image.Image) -> Tensor:
        view = self.as_tensor(image).to(self.device)
        if self.slide is None:
            logits = self.model(view[None])[0]
        else:
            logits = slide_logits(self.model, view, self.slide, self.stride)
        return best_class(logits.float(), (image.height, image.width))


class DetectPredictor(Predictor[Detected]):
    """Detects what scores more than `conf`; `iou` and `max_det` are as in the network's run if not given."""

    def __init__(self, info: CheckpointInfo, computed: Computed, ema: bool | None, **selection: Any) -> None:
        trained = info.recipe or {}
        of_its_run = {name: trained[name] for name in ("iou", "max_det") if name in trained}
        recipe = DetectRecipe(conf=SURE).replace(**(of_its_run | selection))
        assert info.head is not None
        assert isinstance(info.preprocessing, DetectPreprocessing)
        model = DETECTORS[info.head](
            info.model,
            **info.create_model,
            **info.preprocessing.of_network(),
            score_thresh=recipe.conf,
            nms_thresh=recipe.iou,
            detections_per_img=recipe.max_det,
        )
        super().__init__(info, model, computed, ema)
        self.preprocessing = info.preprocessing

    @property
    def category_ids(self) -> list[int]:
        """What COCO's files call each class: as the data did that was trained on, else 1, 2, 3 ..."""
        return list(self.info.category_ids)

    def as_tensor(self, image: Image.Image) -> Tensor:
        return self.preprocessing.to_float(pil_to_tensor(image).to(self.device))  # bytes, as they are fewer

    def predict_batch(self, images: Sequence[Image.Image]) -> list[Detected]:
        detections = self.model([self.as_tensor(image) for image in images])
        return [self._detected(**{name: values.cpu() for name, values in of_one.items()}) for of_one in detections]

    def _detected(self, boxes: Tensor, scores: Tensor, labels: Tensor, masks: Tensor | None = None) -> Detected:
        return Detected(self.classes, boxes, scores, labels, None if masks is None else masks[:, 0])


def _of_array(array: np.ndarray) -> Image.Image:
    """Bytes (H, W) or (H, W, 3) as a PIL image, grey or RGB. Raises TwinsError for other arrays."""
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or array.shape[2:] not in ((), (3,)) or not array.size:
        raise TwinsError(f"an image as an array is uint8, (H, W) or (H, W, 3) in RGB, not {array.dtype} {array.shape}")
    return Image.fromarray(array)


_PREDICTORS: dict[str, Callable[..., Predictor[Any]]] = {
    "classify": ClassifyPredictor,
    "segment": SegmentPredictor,
    "detect": DetectPredictor,
}
# What `twins predict` takes of the recipes of all tasks, and beside `topk` of one; no two of these have the same name.
_READING = tuple(field.name for field in fields_of(Recipe, "predict"))
_TASK_OF_FIELD = {field.name: task for task in TASKS for field in fields_of(recipe_class(task), "predict")}
_TASK_OF_SETTING = {"topk": "classify"} | {name: task for name, task in _TASK_OF_FIELD.items() if name not in _READING}


def load_predictor(
    weights: str | os.PathLike[str] | CheckpointInfo,
    device: str = "auto",
    ema: bool | None = None,
    model: str | None = None,
    classes: Sequence[str] | None = None,
    dtype: str | None = None,
    **settings: Any,
) -> Predictor[Any]:
    """The network of a checkpoint of any dialect, ready to predict; see `Predictor` for how it is called.

    `twins.load` is this function.

    Parameters
    ----------
    weights:
        A checkpoint file, or what `read_info` made of one. Published weights and others that say nothing of themselves
        are known by their names and shapes, and see images as the published networks do.
    device:
        "auto" (the best there is), "cuda", "cuda:N", "mps" or "cpu".
    ema:
        Take the moving average that the file keeps, or leave it; by default it is taken where there is one.
    model:
        Which network it is, by name or alias, where the weights do not say.
    classes:
        One name for each class, in place of those that the file names, or of numbers.
    dtype:
        "fp32", "bf16" or "int8": the CPU engine computes the network, or a segmenter's or detector's backbone, as
        `freeze` says; "auto" is the CPU then. By default PyTorch computes.
    settings:
        They mean what the flags of `twins predict` do. Of a classifier, `topk`: how many classes a prediction names
        (5). Of a segmenter, `slide` and `slide_stride`: predict by overlapping squares of this side, and the pixels
        between two of them (as in its run; else the whole image, and two thirds of the side). Of a detector, `conf`:
        least score, in [0, 1] (0.3); `iou`: of two boxes of a class that overlap more, in [0, 1], the better one stays
        (as in its run, or 0.5); `max_det`: most objects an image (as in its run, or 100). Of all, how files are read:
        `bit_depth`, the bits used by grey images that have more than 8 (as in its run, or 16), and `max_megapixels`,
        beyond which an image is refused (as in its run, or 179; None: no limit).

    Returns
    -------
    A predictor that returns `Classified`, `Segmented` or `Detected`, by the network's task.

    Raises TwinsError for weights, a device, a dtype or settings that cannot be used.
    """
    computed = Computed.by(device, dtype)
    info = read_info(weights).with_model(None if model is None else model_name(model))
    task = info.task
    if task is None:
        raise TwinsError(
            f"{info.source}: holds a backbone without a head: it takes weights that were trained to classify, segment "
            "or detect"
        )
    info = info.with_classes(classes)
    reading = _reading(info, {name: settings.pop(name) for name in _READING if name in settings})
    for name in settings:
        if name not in _TASK_OF_SETTING:
            raise TwinsError(f"no setting {name!r} of predictors{nearest(name, [*_TASK_OF_SETTING, *_READING])}")
        if _TASK_OF_SETTING[name] != task:
            flag = "--" + name.replace("_", "-")
            meant_for, kind = NETWORK_OF_TASK[_TASK_OF_SETTING[name]], NETWORK_OF_TASK[task]
            raise TwinsError(f"{flag} is for {meant_for}s; {info.source} is a {kind}")
    predictor = _PREDICTORS[task](info, computed, ema, **settings)
    predictor.reading = reading
    return predictor


load = load_predictor  # as `twins.load`


def _reading(info: CheckpointInfo, given: Mapping[str, Any]) -> ImageReading:
    """How the checkpoint's run read its images, but for what is given."""
    of_its_run = {name: value for name, value in (info.recipe or {}).items() if name in _READING}
    settings = {**of_its_run, **given}
    for name, value in settings.items():
        Recipe.check_field(name, value)
    return ImageReading(**settings)

"""Networks of checkpoints, made ready to predict. Nothing here writes a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar, overload

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn
from torchvision.transforms.functional import pil_to_tensor

from ..checkpoints.info import CheckpointInfo
from ..data.classify.partial_jpeg import JpegImage, may_be_jpeg, open_jpeg
from ..data.classify.transforms import SMALL, eval_transform, takes_jpeg
from ..data.image_source import ImageSource as ImageFile
from ..data.images import USUAL_READING, ImageReading, UnreadableImageError, read_image, size_of
from ..data.masks.transforms import mask_eval_transform
from ..data.pixel_values import as_bytes
from ..errors import TwinsError, nearest
from ..heads.detection import SURE
from ..heads.detection.selection import Selection
from ..heads.sliding_window import best_class, slide_logits
from ..networks import open_network, run_name, selection_of
from ..optional_dependencies import need
from ..preprocessing import ClassifyPreprocessing, DetectPreprocessing, SegmentPreprocessing, Size
from ..recipes import DetectRecipe, SegmentRecipe
from ..recipes.classify import DECODERS
from .computed import Computed
from .predictions import Classified, Detected, Segmented

ImageSource = str | os.PathLike | Image.Image | np.ndarray
Prediction = TypeVar("Prediction")


class Prepared(NamedTuple):
    """An image, ready for the network."""

    size: Size  # as it was read, upright: (height, width)
    tensor: Tensor  # see `Predictor.transform`


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
        What became of a checkpoint's weights, and which of the file's they are; None for an exported network.
    remarks:
        Lines to be said wherever the network is used: which weights these are, and what runs them.
    batch_size:
        How many images go through the network together, however many it is called with.
    """

    batch_size = 1

    reading: ImageReading = USUAL_READING  # of files and PIL images
    decoder = DECODERS[0]  # of JPEG files, see `use_decoder`

    def __init__(
        self, info: CheckpointInfo, computed: Computed, ema: bool | None, selection: Selection | None = None
    ) -> None:
        self.info, self.classes, self.device = info, info.classes, computed.device
        self.channels: int = info.create_model.get("in_chans", 3)
        opened = open_network(info, computed.device, ema, selection=selection)
        self.load_report, self.remarks = opened.report, opened.remarks
        self.model = computed.ready(self.part_of(opened.model))

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
            prepared = [self._prepared(image) for image in images[start : start + self.batch_size]]
            with torch.no_grad():
                predictions += self.predict_tensors([one.tensor for one in prepared], [one.size for one in prepared])
        return predictions

    @property
    def name(self) -> str:
        """That of the run which trained the network, or else the network's, as "twins_svt_small"; fit for a folder."""
        return run_name(self.info)

    def transform(self, image: ImageSource) -> Tensor:
        """What `model` sees of an image that `predictor(image)` takes: (channels, H, W) float32 on `device`.

        A classifier or segmenter takes a batch of it, `model(transform(image)[None])`. A detector takes a list,
        `model([transform(image)])`, of values in [0, 1] in the image's own size: it resizes and normalises itself.
        Raises what `predictor(image)` does.
        """
        return self._prepared(image).tensor.to(self.device)

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

    def use_decoder(self, decoder: str) -> None:
        """How JPEG files are decoded from now on: by "pillow", or by "turbo", which takes about half the time.

        With "turbo" a classifier sees pixels that differ by less than 1 of 255 on average, as `twins train --decoder`
        says. Raises TwinsError for other decoders, for networks that it is not for, and where its library is missing.
        """
        if decoder not in DECODERS:
            raise TwinsError(f"--decoder must be {' or '.join(DECODERS)}, not {decoder!r}{nearest(decoder, DECODERS)}")
        if decoder == "turbo":
            if not isinstance(self.info.preprocessing, ClassifyPreprocessing):
                raise TwinsError(f"--decoder turbo is for classifiers, which {self.info.source} is not; leave it out")
            if not takes_jpeg(self.info.preprocessing.size, self.channels):
                raise TwinsError(
                    f"--decoder turbo is for colour images of more than {SMALL} pixels a side, and "
                    f"{self.info.source} sees others; leave it out"
                )
            need("simplejpeg", extra="turbo")
        self.decoder = decoder

    def prepare(self, file: ImageFile) -> Prepared:
        """Read an image file, a member of a shard or bytes, and transform it. Raises UnreadableImageError."""
        as_jpeg = self.decoder == "turbo" and may_be_jpeg(file)
        image = open_jpeg(file, self.reading) if as_jpeg else read_image(file, self.channels, self.reading)
        return Prepared((image.height, image.width), self.as_tensor(image))

    def _prepared(self, image: ImageSource) -> Prepared:
        if isinstance(image, str | os.PathLike):
            return self.prepare(Path(image))
        opened = self.read(image)
        return Prepared(size_of(opened), self.as_tensor(opened))

    def part_of(self, network: nn.Module) -> nn.Module:
        """What of the file's network is computed: the whole."""
        return network

    def as_tensor(self, image: Any) -> Tensor:
        """An image, as `read` returns it, as what `model` sees of it; see `transform`.

        Where `decoder` is "turbo" it may be a JpegImage.
        """
        raise NotImplementedError

    def predict_tensors(self, tensors: Sequence[Tensor], sizes: Sequence[Size]) -> list[Prediction]:
        """The same for images that `as_tensor` was called with before, perhaps in other threads: the network alone.

        `sizes` are the images' own, (height, width) as they were read. Call it under `torch.no_grad()`.
        """
        raise NotImplementedError


class ClassifyPredictor(Predictor[Classified]):
    """Classifies; `topk` is how many classes a prediction names."""

    batch_size = 16  # few enough to hold the photos themselves in memory, tens of megabytes each

    def __init__(self, info: CheckpointInfo, computed: Computed, ema: bool | None, topk: int = 5) -> None:
        if topk < 1:
            raise TwinsError(f"--topk must be 1 or more, not {topk}")
        assert isinstance(info.preprocessing, ClassifyPreprocessing)
        super().__init__(info, computed, ema)
        self.topk = topk
        self._eval_transform = eval_transform(info.preprocessing)

    def as_tensor(self, image: Image.Image | JpegImage) -> Tensor:
        return self._eval_transform(image)

    def predict_tensors(self, tensors: Sequence[Tensor], sizes: Sequence[Size]) -> list[Classified]:
        batch = torch.stack(list(tensors)).to(self.device)
        probabilities = self.model(batch).float().softmax(dim=1).cpu()
        return [Classified(self.classes, row, self.topk) for row in probabilities]


class SegmentPredictor(Predictor[Segmented]):
    """Segments; with `slide` by squares of that side, `slide_stride` apart; as in the network's run if not given."""

    def __init__(self, info: CheckpointInfo, computed: Computed, ema: bool | None, **windows: Any) -> None:
        trained = info.recipe or {}
        of_its_run = {name: trained.get(name) for name in ("slide", "slide_stride") if "slide" not in windows}
        recipe = SegmentRecipe().replace(**(of_its_run | windows))
        self.slide, self.stride = recipe.slide, recipe.slide_stride
        assert isinstance(info.preprocessing, SegmentPreprocessing)
        super().__init__(info, computed, ema)
        self._eval_transform = mask_eval_transform(info.preprocessing)

    def as_tensor(self, image: Image.Image) -> Tensor:
        no_mask = torch.empty(0)
        (view,), _ = self._eval_transform(image, no_mask)
        return view

    def predict_tensors(self, tensors: Sequence[Tensor], sizes: Sequence[Size]) -> list[Segmented]:
        views = (tensor.to(self.device) for tensor in tensors)
        return [Segmented(self.classes, self._mask(view, size).cpu()) for view, size in zip(views, sizes, strict=True)]

    def _mask(self, view: Tensor, size: Size) -> Tensor:
        if self.slide is None:
            logits = self.model(view[None])[0]
        else:
            logits = slide_logits(self.model, view, self.slide, self.stride)
        return best_class(logits.float(), size)


class DetectPredictor(Predictor[Detected]):
    """Detects what scores more than `conf`; `iou` and `max_det` are as in the network's run if not given."""

    def __init__(self, info: CheckpointInfo, computed: Computed, ema: bool | None, **selection: Any) -> None:
        trained = info.recipe or {}
        of_its_run = {name: trained[name] for name in ("iou", "max_det") if name in trained}
        recipe = DetectRecipe(conf=SURE).replace(**(of_its_run | selection))
        assert isinstance(info.preprocessing, DetectPreprocessing)
        super().__init__(info, computed, ema, selection_of(recipe))
        self.preprocessing = info.preprocessing

    @property
    def category_ids(self) -> list[int]:
        """What COCO's files call each class: as the data did that was trained on, else 1, 2, 3 ..."""
        return list(self.info.category_ids)

    @property
    def has_masks(self) -> bool:
        """Whether its detections have masks."""
        return self.info.head == "mask_rcnn"

    def as_tensor(self, image: Image.Image) -> Tensor:
        return self.preprocessing.to_float(pil_to_tensor(image).to(self.device))  # bytes, as they are fewer

    def predict_tensors(self, tensors: Sequence[Tensor], sizes: Sequence[Size]) -> list[Detected]:
        detections = self.model(list(tensors))
        return [self._detected(**{name: values.cpu() for name, values in of_one.items()}) for of_one in detections]

    def _detected(self, boxes: Tensor, scores: Tensor, labels: Tensor, masks: Tensor | None = None) -> Detected:
        return Detected(self.classes, boxes, scores, labels, None if masks is None else masks[:, 0])


def _of_array(array: np.ndarray) -> Image.Image:
    """Bytes (H, W) or (H, W, 3) as a PIL image, grey or RGB. Raises TwinsError for other arrays."""
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or array.shape[2:] not in ((), (3,)) or not array.size:
        raise TwinsError(f"an image as an array is uint8, (H, W) or (H, W, 3) in RGB, not {array.dtype} {array.shape}")
    return Image.fromarray(array)

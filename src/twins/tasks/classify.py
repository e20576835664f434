"""Classification: one label an image."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms.functional import to_pil_image

from ..checkpoints.load import load_weights
from ..data.check_results import TRAINING, VALIDATION, DatasetStatistics
from ..data.classify.checks import label_statistics
from ..data.classify.dataset import LabelledImages
from ..data.classify.layouts import open_labelled
from ..data.classify.network_classes import labelled_for_network
from ..data.classify.partial_jpeg import OpenedImages
from ..data.classify.transforms import ImageOnly, eval_transform, takes_jpeg, train_transform
from ..data.folders import images_in_words
from ..data.loading import Batch, ImageDataset
from ..data.opening import open_once
from ..data.randomness import keyed_randomness
from ..data.sampling import evenly
from ..distributed.collectives import all_gather_object
from ..errors import TwinsError
from ..metrics.classification import ClassificationMetrics
from ..metrics.confusion_table import write_confusion
from ..metrics.per_class_table import write_per_class
from ..model import Twins, TwinsBackbone
from ..optional_dependencies import need
from ..plots.confusion import draw_commonest_confusions, draw_confusion
from ..plots.image_grid import draw_image_grid
from ..plots.lettering import shortened
from ..plots.worst_mistakes import WorstMistake, write_worst_mistakes
from ..recipes import ClassifyRecipe, Split, one_number_a_class
from ..zoo import create_model, model_name


class Prediction(NamedTuple):
    """The network's for one validation image."""

    image: int  # its index
    truth: int  # its label
    label: int  # the predicted one
    confidence: float  # its probability, from 0 to 1


class Classification:
    """A recipe made into data, network, loss and metrics."""

    best_metric = "acc1"
    columns: tuple[tuple[str, str, int], ...] = (("acc1", "Acc@1", 2), ("acc5", "Acc@5", 2), ("loss", "val loss", 3))
    plots: tuple[str, ...] = ("confusion.png", "predictions.png", "mistakes.csv", "train_batch.png")

    def __init__(self, recipe: ClassifyRecipe, classes: tuple[str, ...] = ()) -> None:
        self.recipe = recipe
        self.preprocessing = recipe.preprocessing()
        self.classes = classes
        self.class_weights: Tensor | None = None
        self.predictions: list[Prediction] = []
        self.notes: list[str] = []
        self.part = ""
        self.split: Split | None = None

    def datasets(self, evaluation_only: bool = False) -> tuple[ImageDataset | None, ImageDataset]:
        """(training, validation) tensors; also settles the classes, unless they were given, and their weights.

        Raises TwinsError for data that cannot be used.
        """
        train, val = open_once(self.recipe, partial(open_labelled, self.recipe, evaluation_only))
        if self.classes:
            val = labelled_for_network(val, self.classes, self.recipe.data)
        self.classes = val.classes
        self.part, self.split = val.part, val.split
        if len(self.classes) < 6:  # else Acc@5 is 100, or nearly
            self.columns = tuple(column for column in Classification.columns if column[0] != "acc5")
        parts = [val] if train is None or evaluation_only else [train, val]
        self.notes += dict.fromkeys(warning for part in parts for warning in part.warnings)  # both may be of one folder
        if train is not None and not evaluation_only:
            self.class_weights = _class_weights(self.recipe.class_weights, train)
        if self._turbo(val):
            self.notes.append("JPEG files are decoded by simplejpeg, as far as each crop needs them")
        elif self.recipe.decoder_at_hand() == "pillow" and self.recipe.decoder == "auto" and self._could_be_turbo(val):
            self.notes.append('JPEG files are decoded by Pillow; pip install "twins-vit[turbo]" makes that faster')
        self.val = self._tensors(val, training=False)
        return None if train is None else self._tensors(train, training=True), self.val

    def build(self) -> Twins | TwinsBackbone:
        """The network for the data's classes, with the recipe's weights if it names any."""
        r = self.recipe
        model = create_model(
            r.model,
            num_classes=len(self.classes),
            in_chans=r.in_chans,
            drop_path_rate=r.drop_path,
            drop_rate=r.drop,
            window_padding=r.window_padding,
            **r.model_kwargs,
        )
        if r.weights is not None:
            model.load_report = load_weights(model, r.weights, classes=self.classes)
        return model

    def mix(self, batch: Batch, *key: int) -> Batch:
        """Mixup or cutmix of a whole batch, with labels as distributions; a function of the key."""
        r = self.recipe
        if not (r.mixup > 0 or r.cutmix > 0 or r.cutmix_minmax):
            return batch
        if len(batch) % 2:
            raise TwinsError(f"mixup and cutmix pair images: --batch-size must be even, not {len(batch)}")
        mixup = need("timm.data", extra="train").Mixup(
            r.mixup, r.cutmix, r.cutmix_minmax, r.mixup_prob, r.mixup_switch_prob, r.mixup_mode,
            label_smoothing=r.smoothing, num_classes=len(self.classes),
        )  # fmt: skip
        with keyed_randomness("mix", r.seed, *key):
            images, labels = mixup(batch.images, batch.labels)
        return Batch(images, labels, batch.indices, batch.unreadable)

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy with the batch's labels, whether one class or, once mixed, a distribution."""
        smoothing = 0.0 if batch.labels.is_floating_point() else self.recipe.smoothing
        if self.class_weights is not None:  # kept there: a copy at every batch would make the host wait for the GPU
            self.class_weights = self.class_weights.to(batch.images.device)
        logits = model(batch.images)
        loss = F.cross_entropy(logits.float(), batch.labels, self.class_weights, label_smoothing=smoothing)
        return {"loss": loss}

    @torch.inference_mode()
    def evaluate(self, model: nn.Module, batches: Iterable[Batch]) -> Iterator[tuple[str, float]]:
        """Accuracy first; every image counts once over all ranks."""
        device = next(model.parameters()).device
        self.metrics = ClassificationMetrics(len(self.classes), device)
        self.predictions = []
        for batch in batches:
            if not len(batch):
                continue
            logits = model(batch.images).float()
            self.metrics.update(logits, batch.labels)
            confidence, predicted = logits.softmax(dim=1).cpu().max(dim=1)
            rows = zip(batch.indices, batch.labels.tolist(), predicted.tolist(), confidence.tolist(), strict=True)
            self.predictions += [Prediction(*row) for row in rows]
        self.predictions = sorted(chain.from_iterable(all_gather_object(self.predictions)))
        self.metrics.reduce()
        yield from self.metrics.compute()

    def dataset_statistics(self) -> DatasetStatistics:
        """The outcome of a check of all images."""
        train, val = open_once(self.recipe, partial(open_labelled, self.recipe))
        assert train is not None
        both = set(train.warnings)  # they may be of one folder
        val = replace(val, warnings=tuple(line for line in val.warnings if line not in both))
        return label_statistics({TRAINING: train, VALIDATION: val}, self.recipe)

    def draw_samples(self, path: Path) -> None:
        """Some validation images under their classes, as the network sees them."""
        views = [self.val.at(index) for index in evenly(len(self.val), 32)]
        readable = [view for view in views if view.image is not None]
        images = torch.stack([view.image for view in readable])
        images = self.preprocessing.denormalise(images)
        draw_image_grid(images, [self.classes[view.label] for view in readable], path, self.recipe.data)

    def draw_batch(self, batch: Batch, folder: Path) -> None:
        """The first training batch, as the network sees it."""
        if batch.labels.is_floating_point():
            titles = [_mixture(row, self.classes) for row in batch.labels.cpu()]
        else:
            titles = [(self.classes[label],) for label in batch.labels.tolist()]
        images = self.preprocessing.denormalise(batch.images.cpu())
        draw_image_grid(images, titles, folder / "train_batch.png", "first training batch, augmented")

    def draw(self, folder: Path) -> None:
        """Of the last evaluation: what was confused, the most confident mistakes, drawn and listed, and all classes."""
        cells = Counter((p.truth, p.label) for p in self.predictions)
        write_confusion(folder / "confusion.csv", cells, self.classes, "images")
        if len(self.metrics.confusion):
            draw_confusion(self.metrics.confusion, self.classes, folder / "confusion.png")
        else:
            draw_commonest_confusions(cells, self.classes, folder / "confusion.png")
        mistakes = sorted((p for p in self.predictions if p.label != p.truth), key=lambda p: -p.confidence)
        self._list(mistakes, folder / "mistakes.csv")
        right = [p for p in self.predictions if p.label == p.truth]
        shown = [*mistakes[:16], *right][:32]
        views = [self.val.at(p.image) for p in shown]
        images = self.preprocessing.denormalise(torch.stack([view.image for view in views if view.image is not None]))
        draw_image_grid(
            images,
            [self._title(p) for p in shown],
            folder / "predictions.png",
            f"{images_in_words(self.part)}: mistakes first, most confident first",
            wrong=[p.label != p.truth for p in shown],
        )
        worst = [self._worst(p, image) for p, image in zip(mistakes[:16], images, strict=False)]
        write_worst_mistakes(folder, worst)
        count, right_count = self.metrics.per_class
        columns = {"images": count, "right": right_count, "accuracy": 100 * right_count.double() / count}
        write_per_class(folder / "per_class.csv", self.classes, columns)

    def findings(self) -> list[str]:
        return []

    def _title(self, p: Prediction) -> tuple[str, ...]:
        """What was predicted, with its probability, what it is unless that is the same, and where to find the image."""
        mistake = () if p.label == p.truth else (f"not {self.classes[p.truth]}",)
        file = "/".join(Path(self.val.images.name(p.image)).parts[-2:])
        return f"{shortened(self.classes[p.label], 17)}, {100 * p.confidence:.0f} %", *mistake, file

    def _worst(self, p: Prediction, image: Tensor) -> WorstMistake:
        """A mistake, with its image as the network saw it, (C, H, W) in [0, 1]."""
        caption = f"{self.classes[p.label]} ({100 * p.confidence:.0f} %), not {self.classes[p.truth]}"
        return WorstMistake(to_pil_image(image.clamp(0, 1)).save, self.val.images.name(p.image), caption)

    def _list(self, mistakes: Sequence[Prediction], path: Path) -> None:
        """A table of them, for a spreadsheet."""
        with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            table = csv.writer(file)
            table.writerow(["file", "truth", "predicted", "confidence"])
            for p in mistakes:
                name = self.val.images.name(p.image)
                table.writerow([name, self.classes[p.truth], self.classes[p.label], f"{p.confidence:.5f}"])

    def meta(self) -> dict[str, Any]:
        """What a checkpoint tells of itself, so that evaluation and prediction need nothing else."""
        r = self.recipe
        return {
            "task": r.task,
            "name": model_name(r.model),
            "create_model": {
                "num_classes": len(self.classes),
                "in_chans": r.in_chans,
                "window_padding": r.window_padding,
                **r.model_kwargs,
            },
            "classes": list(self.classes),
            "preprocessing": self.preprocessing.to_dict(),
            **({} if self.split is None else {"split": self.split.to_dict()}),
        }

    def _tensors(self, images: LabelledImages, training: bool) -> ImageDataset:
        r, turbo = self.recipe, self._turbo(images)
        transform = train_transform(r, turbo) if training else eval_transform(self.preprocessing)
        source = OpenedImages(images) if turbo else images
        return ImageDataset(source, ImageOnly(transform), r.in_chans, r.seed, training)

    def _turbo(self, images: LabelledImages) -> bool:
        """Whether JPEG files are decoded as the crop needs them. Raises TwinsError where the library is missing."""
        if self.recipe.decoder_at_hand() == "pillow" or not self._could_be_turbo(images):
            return False
        need("simplejpeg", extra="turbo")
        return True

    def _could_be_turbo(self, images: LabelledImages) -> bool:
        return not images.in_memory and takes_jpeg(self.recipe.size, self.recipe.in_chans)


def _class_weights(wanted: tuple[str, ...] | None, train: LabelledImages) -> Tensor | None:
    """One weight a class; `auto` weighs every class alike, however many images it has, with mean 1 over images."""
    if wanted is None:
        return None
    count = len(train.classes)
    if tuple(wanted) == ("auto",):
        images = torch.bincount(torch.tensor(train.labels), minlength=count).float()
        return len(train) / (count * images.clamp(min=1))
    return torch.tensor(one_number_a_class(wanted, train.classes))


def _mixture(row: Tensor, classes: tuple[str, ...]) -> tuple[str, ...]:
    """The one or two classes of a mixed label: "cat", or "cat, 70 %" and "dog, 30 %"."""
    shares, labels = row.topk(min(2, len(row)))
    if shares[-1] < 0.1 or len(row) < 2:
        return (classes[int(labels[0])],)
    pairs = zip(labels.tolist(), shares.tolist(), strict=True)
    return tuple(f"{shortened(classes[label], 17)}, {100 * share:.0f} %" for label, share in pairs)

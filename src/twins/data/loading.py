"""From annotated images to batches of tensors: the dataset that reads and transforms, the batch, and the loader."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ..distributed.collectives import all_gather_object
from ..errors import TwinsError
from .images import UnreadableImageError, any_number_of_pixels
from .randomness import keyed_randomness
from .sampling import SampleKey, evenly
from .steady_reading import MOST_REPLACEMENTS, LostDataError, SteadyReader, too_many
from .waiting import POLL


class AnnotatedImages(Protocol):
    """Images with an annotation each: a label, a mask, or objects."""

    @property
    def in_memory(self) -> bool: ...

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """The image's file, for messages."""

    def read(self, index: int, channels: int) -> tuple[Any, Any]:
        """The image, as the transform takes it, and its annotation.

        Raises UnreadableImageError, or TwinsError where they do not fit.
        """


class Sample(NamedTuple):
    """One image and its annotation, transformed; or, where `image` is None, why there is none."""

    image: Any  # (C, H, W), or a tuple of such views
    label: Any
    image_index: int  # among those of the dataset
    unreadable: tuple[str, ...]  # the images, and why they cannot be decoded, that were to be here
    error: str | None = None  # a TwinsError's text: raised in a worker it would come wrapped in its traceback
    lost: bool = False  # whether that is a LostDataError


class ImageDataset(Dataset[Sample]):
    """Images, read and transformed. In training an unreadable image is replaced by the next readable one nearby.

    `transform` takes an image, most often a PIL image, and its annotation, and returns what the network and the loss
    take. Its randomness follows from `seed` and the sample's key alone.
    """

    def __init__(
        self,
        images: AnnotatedImages,
        transform: Callable[[Any, Any], tuple[Any, Any]],
        channels: int,
        seed: int,
        training: bool,
    ) -> None:
        self.images, self.transform, self.channels = images, transform, channels
        self.seed, self.training = seed, training
        self.reader = SteadyReader(images.read, images.name, len(images))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: SampleKey) -> Sample:
        unreadable: list[str] = []
        candidates = min(len(self.images), MOST_REPLACEMENTS) if self.training else 1
        for index in ((key.image_index + offset) % len(self.images) for offset in range(candidates)):
            try:
                image, annotation = self.reader.read(index, self.channels)
                randomness = keyed_randomness("sample", self.seed, key.epoch, key.image_index, key.repeat)
                with randomness, any_number_of_pixels():  # crops of large images may be large too
                    return Sample(*self.transform(image, annotation), index, tuple(unreadable))
            except UnreadableImageError as error:
                unreadable.append(str(error))
                continue
            except TwinsError as error:
                return Sample(None, None, index, tuple(unreadable), str(error), isinstance(error, LostDataError))
        gave_up = self.training and len(unreadable) < len(self.images)
        return Sample(None, None, key.image_index, tuple(unreadable), too_many(unreadable) if gave_up else None)

    def at(self, index: int) -> Sample:
        """One image, in its first view."""
        return self[SampleKey(index)]

    def samples(self, wanted: int) -> list[tuple[Image.Image, Any, str]]:
        """Up to `wanted` images, evenly spaced, with annotations and names, as they are on disk; without broken ones.

        Raises TwinsError where none of them can be read.
        """
        found = []
        for index in evenly(len(self.images), wanted):
            with contextlib.suppress(UnreadableImageError):  # `data check` names them
                found.append((*self.images.read(index, self.channels), self.images.name(index)))
        if not found:
            raise TwinsError(f"none of the images can be read, as {self.images.name(0)}")
        return found


@dataclass(frozen=True)
class Batch:
    """B images with their annotations. Tensors are stacked where all have one shape, else a list of B."""

    images: Any  # (B, C, H, W); a list where sizes or numbers of views differ
    labels: Any  # classes: (B,) int64, or (B, classes) once mixed; masks: (B, H, W) or a list; objects: a list
    indices: tuple[int, ...]  # among the dataset's images
    unreadable: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    lost: bool = False  # whether errors are of data that is gone, and may come back

    def __len__(self) -> int:
        return len(self.indices)

    def to(self, device: torch.device) -> Batch:
        return self._with_tensors(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        return self._with_tensors(torch.Tensor.pin_memory)

    def _with_tensors(self, change: Callable[[Tensor], Tensor]) -> Batch:
        return replace(self, images=_changed(self.images, change), labels=_changed(self.labels, change))


def _changed(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same nested lists, tuples and dictionaries with `change` of each tensor."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {name: _changed(item, change) for name, item in value.items()}
    return type(value)(_changed(item, change) for item in value)


def collate(samples: list[Sample]) -> Batch:
    """The batch of the samples that have an image, and what is wrong with the others."""
    readable = [sample for sample in samples if sample.image is not None]
    return Batch(
        images=_stacked([sample.image for sample in readable]),
        labels=_stacked([sample.label for sample in readable]),
        indices=tuple(sample.image_index for sample in readable),
        unreadable=tuple(name for sample in samples for name in sample.unreadable),
        errors=tuple(sample.error for sample in samples if sample.error is not None),
        lost=any(sample.lost for sample in samples),
    )


def _stacked(values: list[Any]) -> Any:
    if all(isinstance(value, int) for value in values):
        return torch.tensor(values, dtype=torch.long)
    if all(isinstance(value, Tensor) and value.shape == values[0].shape for value in values):
        return torch.stack(values)
    return values


class UnreadableImages:
    """Counts the unreadable images of a run, or stops at the first: `policy` is "skip" or "stop"."""

    def __init__(self, policy: str) -> None:
        self.policy = policy
        self.names: set[str] = set()

    def note(self, batch: Batch) -> None:
        """Raises TwinsError for an annotation that cannot be used, and under the policy "stop", naming the image.

        Raises LostDataError where all images are gone.
        """
        if batch.lost:
            raise LostDataError(batch.errors[-1])
        if batch.errors:
            raise TwinsError(batch.errors[0])
        if batch.unreadable and self.policy == "stop":
            raise TwinsError(f"unreadable image {batch.unreadable[0]}; fix it, or pass --bad-images skip")
        self.names.update(batch.unreadable)

    def over_all_ranks(self) -> list[str]:
        """Those of all ranks, each once; every rank must call."""
        return sorted({name for names in all_gather_object(self.names) for name in names})


def make_loader(
    dataset: ImageDataset,
    sampler: Sampler[SampleKey],
    batch_size: int,
    workers: int | None,
    device: torch.device,
) -> DataLoader[Batch]:
    """Batches in the sampler's order. Without a number of `workers` there is one a core, but none for images in memory.

    Images in memory are tiny: to load one costs less than to hand it over from another process. Batches are taken by
    `waiting.take`, and in the end `waiting.end_workers` has to be called.
    """
    if workers is None:
        workers = 0 if dataset.images.in_memory else default_workers()
    return DataLoader(
        dataset,  # type: ignore[arg-type]  # indexed by SampleKey, which torch's stubs do not foresee
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=device.type == "cuda",
        persistent_workers=workers > 0,
        worker_init_fn=ignore_stop_signals,
        timeout=POLL if workers else 0.0,
    )


def ignore_stop_signals(worker: int) -> None:
    """For workers, which must live until the main process has saved: schedulers send SIGTERM to the whole group."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def default_workers() -> int:
    """This rank's share of the machine's cores, up to 8."""
    return min(cores_of_rank(), 8)


def cores_of_rank() -> int:
    """This rank's share of the machine's cores; more worker processes than that wait for one another."""
    return (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", 1))

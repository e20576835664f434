"""Batches: which sample comes when, and how samples become tensors."""

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
from .images import UnreadableImageError
from .randomness import keyed_randomness
from .sampling import SampleKey
from .statistics import evenly


class AnnotatedImages(Protocol):
    """Images with what is known of each: a label, a mask, its objects."""

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
    image: Any  # (C, H, W), or several such views; None: unreadable, and nothing taken in its place
    label: Any
    place: int
    unreadable: tuple[str, ...]
    refusal: str | None = None  # a TwinsError, in words: raised in a worker it would come wrapped in its traceback


@dataclass(frozen=True)
class Batch:
    """B images with what is known of each. Tensors are stacked where all are of one size, else a list of B."""

    images: Any  # (B, C, H, W); a list where sizes or numbers of views differ
    labels: Any  # classes: (B,), or (B, classes) once mixed; masks: (B, H, W) or a list; objects: a list
    indices: tuple[int, ...]
    unreadable: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.indices)

    def to(self, device: torch.device) -> Batch:
        return self._with_tensors(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        return self._with_tensors(torch.Tensor.pin_memory)

    def _with_tensors(self, change: Callable[[Tensor], Tensor]) -> Batch:
        return replace(self, images=_changed(self.images, change), labels=_changed(self.labels, change))


def _changed(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The tensors in nested lists, tuples and dictionaries, changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {name: _changed(item, change) for name, item in value.items()}
    return type(value)(_changed(item, change) for item in value)


class ImageDataset(Dataset[Sample]):
    """Decode and transform. In training an unreadable image's place is taken by the next readable one.

    `transform` makes of an image, most often a PIL image, and its annotation what the network and the loss take.
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

    def __len__(self) -> int:
        return len(self.images)

    def at(self, index: int) -> Sample:
        """One image, in its first view."""
        return self[SampleKey(index)]

    def samples(self, wanted: int) -> list[tuple[Image.Image, Any]]:
        """Some images, evenly spread, with what is known of each, as they are on disk; broken ones are left out.

        Raises TwinsError where none of them can be read.
        """
        found = []
        for index in evenly(len(self.images), wanted):
            with contextlib.suppress(UnreadableImageError):  # `data check` names them
                found.append(self.images.read(index, self.channels))
        if not found:
            raise TwinsError(f"none of the images can be read, as {self.images.name(0)}")
        return found

    def __getitem__(self, key: SampleKey) -> Sample:
        unreadable: list[str] = []
        candidates = len(self.images) if self.training else 1
        for index in ((key.place + offset) % len(self.images) for offset in range(candidates)):
            try:
                image, annotation = self.images.read(index, self.channels)
                with keyed_randomness("sample", self.seed, key.epoch, key.place, key.repeat):
                    return Sample(*self.transform(image, annotation), index, tuple(unreadable))
            except UnreadableImageError as error:
                unreadable.append(str(error))
                continue
            except TwinsError as error:
                return Sample(None, None, index, tuple(unreadable), str(error))
        return Sample(None, None, key.place, tuple(unreadable))


def collate(samples: list[Sample]) -> Batch:
    readable = [sample for sample in samples if sample.image is not None]
    return Batch(
        images=_stacked([sample.image for sample in readable]),
        labels=_stacked([sample.label for sample in readable]),
        indices=tuple(sample.place for sample in readable),
        unreadable=tuple(name for sample in samples for name in sample.unreadable),
        refusals=tuple(sample.refusal for sample in samples if sample.refusal is not None),
    )


def _stacked(values: list[Any]) -> Any:
    if all(isinstance(value, int) for value in values):
        return torch.tensor(values, dtype=torch.long)
    if all(isinstance(value, Tensor) and value.shape == values[0].shape for value in values):
        return torch.stack(values)
    return values


class UnreadableImages:
    """What to do about unreadable images, and how many there were."""

    def __init__(self, policy: str) -> None:
        self.policy = policy
        self.names: set[str] = set()

    def note(self, batch: Batch) -> None:
        """Raises TwinsError for a refusal, and under the policy `stop`, naming the image."""
        if batch.refusals:
            raise TwinsError(batch.refusals[0])
        if batch.unreadable and self.policy == "stop":
            raise TwinsError(f"unreadable image {batch.unreadable[0]}; fix it, or pass --bad-images skip")
        self.names.update(batch.unreadable)

    def over_all_ranks(self) -> list[str]:
        """What any rank met, each once; every rank must ask."""
        return sorted({name for names in all_gather_object(self.names) for name in names})


def make_loader(
    dataset: ImageDataset,
    sampler: Sampler[SampleKey],
    batch_size: int,
    workers: int | None,
    device: torch.device,
) -> DataLoader[Batch]:
    workers = _default_workers(dataset) if workers is None else workers
    return DataLoader(
        dataset,  # type: ignore[arg-type]  # indexed by SampleKey, which torch's stubs do not foresee
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=device.type == "cuda",
        persistent_workers=workers > 0,
        worker_init_fn=leave_stopping_to_the_main_process,
    )


def leave_stopping_to_the_main_process(worker: int) -> None:
    """Schedulers send SIGTERM to a whole group of processes: workers must live until the main one has saved."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def workers_at_hand() -> int:
    """This process's share of the machine's cores, up to 8."""
    return min((os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", 1)), 8)


def _default_workers(dataset: ImageDataset) -> int:
    """None for tiny images in memory, which cost less than handing them over."""
    return 0 if dataset.images.in_memory else workers_at_hand()

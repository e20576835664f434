"""The shards of a job, written by one process: images are made ready beside the network, rows leave as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from ...data.loading import default_workers
from ...errors import TwinsError
from ...progress import Progress
from ..predictors import Predictor
from .columns import Rows, all_columns
from .decoding import ReadyImage, ready_images
from .folder import MASKS, shard_file
from .plan import JobPlan
from .records import ImageRecord, ImageRecords
from .shard_files import row_file


@dataclass(frozen=True)
class Pace:
    """How a job is gone about, which changes none of its rows."""

    workers: int | None = None  # threads that read images; None: one a core, up to 8
    skip_bad_images: bool = False  # give an unreadable image a row that says why, instead of stopping


USUAL_PACE = Pace()


class ShardedJob:
    """The rows of a plan, written by this process.

    `rows` turns what `predictor` predicts for the images of `records` into rows, in shards in `folder`.
    """

    def __init__(
        self, plan: JobPlan, folder: Path, predictor: Predictor[Any], rows: Rows, records: ImageRecords, pace: Pace
    ) -> None:
        self.plan, self.folder, self.predictor, self.rows = plan, folder, predictor, rows
        self.records, self.pace = records, pace
        self.unreadable = 0

    def write(self, shards: Sequence[int], shown: bool = True) -> None:
        """Write these shards, in order; each is there once it is whole.

        Raises TwinsError for an unreadable image unless these get rows, for a source that cannot be read, and where
        nothing can be written; shards that are there stay.
        """
        workers = self.pace.workers or default_workers()
        ahead = 2 * self.predictor.batch_size + workers
        progress = Progress("predicting", images_in(self.plan, shards), shown=shown, lines=shown)
        with (
            closing(ready_images(self.predictor, self._records(shards), workers, ahead)) as ready,
            closing(progress.over(ready)) as counted,
            _network_thread() as network,
        ):
            for shard in shards:
                self._write_shard(shard, counted, network)

    def _records(self, shards: Iterable[int]) -> Iterator[ImageRecord]:
        for shard in shards:
            rows = self.plan.rows_of(shard)
            yield from self.records.between(rows.start, rows.stop)

    def _write_shard(self, shard: int, ready: Iterator[ReadyImage], network: Executor) -> None:
        file = shard_file(self.folder, self.plan, shard)
        masks = self.folder / MASKS / f"{shard:05d}"
        with row_file(file, all_columns(self.rows), masks) as written:
            for image, prediction in self._predicted(ready, len(self.plan.rows_of(shard)), network):
                values = {} if prediction is None else self.rows.values(image.size, prediction)
                written.add({"file": image.name, "error": image.error, **values})

    def _predicted(
        self, ready: Iterator[ReadyImage], count: int, network: Executor
    ) -> Iterator[tuple[ReadyImage, Any]]:
        """So many images with their predictions, in order; None for those that cannot be read.

        While the caller has the images of a batch, the network computes the next one.
        """
        before: Future[list[tuple[ReadyImage, Any]]] | None = None
        for batch in self._batches(ready, count):
            computed = network.submit(self._predict, batch)
            if before is not None:
                yield from before.result()
            before = computed
        if before is not None:
            yield from before.result()

    def _batches(self, ready: Iterator[ReadyImage], count: int) -> Iterator[list[ReadyImage]]:
        """So many images, of which the network takes as many together as it can; those that cannot be read between."""
        batch: list[ReadyImage] = []
        readable = 0
        for image in islice(ready, count):
            if image.tensor is None:
                self._note(image)
            batch.append(image)
            readable += image.tensor is not None
            if readable == self.predictor.batch_size:
                yield batch
                batch, readable = [], 0
        if batch:
            yield batch

    @torch.no_grad()
    def _predict(self, images: Sequence[ReadyImage]) -> list[tuple[ReadyImage, Any]]:
        tensors = [image.tensor for image in images if image.tensor is not None]
        sizes = [image.size for image in images if image.tensor is not None]
        predictions = iter(self.predictor.predict_tensors(tensors, sizes) if tensors else ())
        return [(image._replace(tensor=None), None if image.tensor is None else next(predictions)) for image in images]

    def _note(self, image: ReadyImage) -> None:
        if not self.pace.skip_bad_images:
            raise TwinsError(f"unreadable image {image.error}; fix it, or pass --bad-images skip")
        self.records.check_there()
        self.unreadable += 1


@contextmanager
def _network_thread() -> Iterator[Executor]:
    """A thread for the network, which has as many threads of PyTorch as this one."""
    pool = ThreadPoolExecutor(1, "network", torch.set_num_threads, (torch.get_num_threads(),))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def images_in(plan: JobPlan, shards: Iterable[int]) -> int:
    """How many images these shards have rows of."""
    return sum(len(plan.rows_of(shard)) for shard in shards)

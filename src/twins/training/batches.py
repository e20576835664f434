"""Batches for training, one after the other: a worker that dies is replaced, a read that hangs is named and ends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from torch.utils.data import DataLoader

from ..data.loading import Batch, ImageDataset
from ..data.sampling import TrainingSampler
from ..data.waiting import StalledError, WorkersDiedError, dead_workers_unnoticed, end_workers, take
from ..distributed.activity import this_process
from ..progress import clock
from .interruption import Interruption

_RESTARTS = 3  # of dead workers, over a run


class BatchStream:
    """This rank's batches, epoch after epoch; use it as a `with` block, at whose end no worker process is left.

    `read_timeout` is how many seconds it may take until there is a batch; every `said_every` of them it is said.
    """

    def __init__(
        self,
        loader: DataLoader[Batch],
        sampler: TrainingSampler,
        interruption: Interruption,
        say: Callable[[str], None],
        read_timeout: float,
        said_every: float = 60.0,
    ) -> None:
        self.loader, self.sampler, self.interruption, self.say = loader, sampler, interruption, say
        self.read_timeout, self.said_every = read_timeout, said_every
        self.restarts = 0
        self._iterator: Iterator[Batch] = iter(())
        self._given = 0  # batches since the sampler was set
        self._quiet = dead_workers_unnoticed()

    def __enter__(self) -> BatchStream:
        self._quiet.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        end_workers(self.loader)
        self._quiet.__exit__(None, None, None)

    def begin(self, epoch: int, samples: int, updates: int) -> None:
        """What is left of an epoch after its first `samples` over all ranks, seen in so many `updates`."""
        self.sampler.set_epoch(epoch, samples, updates)
        self._start()

    def next(self) -> Batch:
        """The next batch.

        Raises StoppedError for a signal, and StalledError if there is none for too long or if workers die again
        and again.
        """
        waited, said = 0.0, 0
        while True:
            try:
                with self.interruption.while_waiting(), this_process.doing("waiting for data"):
                    batch = take(self.loader, self._iterator)
            except WorkersDiedError as error:
                self._replace_workers(error)
                continue
            if batch is not None:
                self._given += 1
                return batch
            waited += self.loader.timeout
            if waited >= self.read_timeout:
                raise StalledError(f"{self._still_waiting(waited)}: can they be read? --read-timeout waits longer")
            if waited // self.said_every > said:
                said += 1
                self.say(self._still_waiting(waited))

    def _start(self) -> None:
        self._given = 0
        with dead_workers_unnoticed():  # PyTorch asks for that signal when it makes its first worker
            self._iterator = iter(self.loader)

    def _still_waiting(self, seconds: float) -> str:
        return f"no batch for {clock(seconds)}; waiting for {self._awaited()}"

    def _replace_workers(self, error: WorkersDiedError) -> None:
        self.restarts += 1
        line = f"a worker process that loads data has died while {self._awaited()} were read"
        if self.restarts > _RESTARTS:
            raise StalledError(f"{line}, for the {self.restarts}th time: out of memory? try fewer --workers") from error
        self.say(f"{line}; all are started anew, {self.restarts} of {_RESTARTS} times")
        given = self._given
        end_workers(self.loader)
        assert self.loader.batch_size is not None
        self.sampler.skip(given * self.loader.batch_size)
        self._start()

    def _awaited(self) -> str:
        """The images of the next batch, for messages."""
        size, dataset = self.loader.batch_size, self.loader.dataset
        assert size is not None
        assert isinstance(dataset, ImageDataset)
        keys = list(islice(self.sampler, self._given * size, (self._given + 1) * size))
        names = [dataset.images.name(key.image_index) for key in keys[:2]]
        return ", ".join(names) + (f" and {len(keys) - 2} more" if len(keys) > 2 else "")

"""A job on a Ray cluster: a shard is a task of Ray Data, done where there is room, and again if that machine dies.

All machines must see the weights, the images and the job's folder under the same paths, and have twins installed. A
shard is written whole or not at all, and one that is there is left alone, so that a task may be done any number of
times.
"""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import TwinsError
from ...optional_dependencies import need
from ...progress import Progress
from ...ray_connection import connected, enter
from .columns import rows_of
from .folder import PLAN, shard_file
from .network import JobNetwork
from .plan import JobPlan, check_weights
from .records import ImageRecords
from .sharded_job import Pace, ShardedJob

_MOST_BLOCKS = 4096  # Ray Data keeps books of each

Results = dict[str, list[Any]]  # a column each


class ShardTasks:
    """What an actor of the cluster does: writes the shards that it is asked for, by a network that it loads once."""

    def __init__(
        self, plan: JobPlan, folder: Path, network: JobNetwork, records: ImageRecords, pace: Pace, here: str
    ) -> None:
        self.plan, self.folder, self.network, self.records, self.pace = plan, folder, network, records, pace
        self.here = here  # the current folder of who began the job, in which paths may be relative
        self.job: ShardedJob | None = None

    def __call__(self, batch: dict[str, Any]) -> Results:
        """Columns of a row a shard: how many images are unreadable, and what stopped it, if anything did."""
        done: Results = {"unreadable": [], "error": []}
        for shard in map(int, batch["shard"]):
            unreadable, error = 0, ""
            try:
                unreadable = self._write(shard)
            except TwinsError as stopped:  # an exception would come back wrapped in those of Ray
                error = f"{stopped} (on {platform.node()})"
            done["unreadable"].append(unreadable)
            done["error"].append(error)
        return done

    def _write(self, shard: int) -> int:
        if self.job is None:
            self.job = self._begin()
        before = self.job.unreadable
        if not shard_file(self.job.folder, self.plan, shard).exists():
            self.job.write([shard], shown=False)
        return self.job.unreadable - before

    def _begin(self) -> ShardedJob:
        enter(self.here)
        if not (self.folder / PLAN).is_file():
            raise TwinsError(f"{self.folder}: is not the job's folder there; name an --out that all machines share")
        check_weights(self.network.weights, self.plan.weights_sha256)
        predictor = self.network.load()
        rows = rows_of(predictor, self.network.embed or "float32")
        return ShardedJob(self.plan, self.folder, predictor, rows, self.records, self.pace)


def write_on_cluster(job: ShardedJob, network: JobNetwork, shards: Sequence[int], address: str) -> None:
    """Write these shards on the cluster at HOST:PORT, or "auto", the one that this machine belongs to.

    Raises TwinsError where no cluster answers, and for what stopped a shard; the others that are there stay.
    """
    with connected(address):
        data = need("ray.data", extra="ray")
        _say_nothing(data)
        pace = Pace(job.pace.workers or 1, job.pace.skip_bad_images)
        tasks = data.from_items(
            [{"shard": shard} for shard in shards], override_num_blocks=min(len(shards), _MOST_BLOCKS)
        )
        done = tasks.map_batches(
            ShardTasks,
            fn_constructor_args=(job.plan, job.folder, network, job.records, pace, os.getcwd()),
            batch_size=1,
            num_cpus=1,
            num_gpus=1 if network.device.startswith("cuda") else 0,
            compute=data.ActorPoolStrategy(min_size=1, max_size=len(shards)),
            max_restarts=-1,
            max_task_retries=-1,
        )
        for result in Progress("predicting shards", len(shards)).over(done.iter_rows()):
            if result["error"]:
                raise TwinsError(result["error"])
            job.unreadable += result["unreadable"]


def _say_nothing(data: Any) -> None:
    """Without the bars and lines of Ray Data: the job has its own."""
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)

"""The checkpoints of a run: what is in them, when they are made, and under which names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..checkpoints.resume import TrainingState
from ..distributed.activity import this_process
from .checkpoint_writer import CheckpointWriter
from .run_folder import BEST, NEWEST
from .save_schedule import SaveSchedule
from .setup import Setup
from .step_log import StepLog
from .totals import EpochTotals

if TYPE_CHECKING:
    from .sharded_checkpoints import ShardedCheckpointWriter


class Saving:
    """Saves a run's state; use it as a `with` block, at whose end all is on the disk.

    Every rank has to call the methods. The main process alone writes, or each its shard.
    """

    def __init__(self, setup: Setup, state: TrainingState) -> None:
        self.setup, self.state = setup, state
        self.schedule = SaveSchedule(setup.recipe.save_every)
        self.writer = _writer(setup.sharded, keep=setup.recipe.checkpoint_hist - 1)

    def __enter__(self) -> Saving:
        self.writer.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        self.writer.__exit__(*raised)

    def due(self) -> bool:
        """Whether it is time to save, after one more update; the main process knows, and asks all ranks to."""
        return self.setup.folder.main and self.schedule.due()

    def within_epoch(self, totals: EpochTotals, log: StepLog, alone: bool = False) -> bool:
        """Between two updates of an epoch, of which all reports have been read; returns whether it could be saved.

        `alone`: by a rank that cannot tell the others, so that their shards, if there are any, could not be saved.
        """
        if alone and self.setup.sharded:
            return False
        self.state.totals = totals.pack() | log.pack()
        self._save()
        return True

    def after_epoch(self, better: bool) -> None:
        """`better`: it is the best epoch so far."""
        self._save(BEST if better else None)

    def wait(self) -> None:
        """Until all is on the disk."""
        self.writer.wait()

    def _save(self, also: str | None = None) -> None:
        self.schedule.saved()
        folder = self.setup.folder
        if not (folder.main or self.setup.sharded):
            return
        recipe = self.setup.recipe.to_dict()
        meta = self.setup.task.meta() | {"recipe": recipe, "versions": self.setup.provenance}
        folder.sync_logs()
        other = None if also is None else folder / also
        with this_process.doing("saving"):
            self.writer.save(lambda: self.state.pack(recipe, meta), folder / NEWEST, other)


def _writer(sharded: bool, keep: int) -> CheckpointWriter | ShardedCheckpointWriter:
    if not sharded:
        return CheckpointWriter(keep)
    from .sharded_checkpoints import ShardedCheckpointWriter  # torch.distributed.checkpoint takes half a second

    return ShardedCheckpointWriter(keep)

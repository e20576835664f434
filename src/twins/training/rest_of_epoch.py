"""An epoch from where it is entered: its start, or wherever the run that is resumed was stopped."""

from __future__ import annotations

from dataclasses import dataclass

from ..checkpoints.resume import TrainingState
from ..data.sampling import TrainingSampler


@dataclass(frozen=True)
class RestOfEpoch:
    """The updates that an epoch still takes, and where each leaves the schedule.

    Updates made before may have been of another global batch: then the schedule is entered by the share of the epoch's
    images that they saw, and ends the epoch where a run with this batch throughout does.
    """

    made: int  # updates of the epoch that were made before
    left: int
    whole: int  # updates of a whole epoch with this global batch
    start: float  # where the schedule is entered, in updates of a whole epoch

    @classmethod
    def of(cls, sampler: TrainingSampler, state: TrainingState) -> RestOfEpoch:
        """What is left of the state's epoch for such a sampler."""
        whole, left = sampler.batches_left(), sampler.batches_left(state.samples, state.step)
        if not left:
            start: float = whole
        elif sampler.batches is not None:  # an epoch is a number of updates, whatever they see
            start = state.step
        else:
            start = min(state.samples / sampler.global_batch, whole)
        return cls(state.step, left, whole, start)

    @property
    def updates(self) -> range:
        """The numbers, within the epoch, of the updates to make."""
        return range(self.made, self.made + self.left)

    def position(self, step: int) -> float:
        """Where the schedule stands after `step` updates of the epoch, in updates of a whole one."""
        if not self.left:
            return self.start
        return self.start + (step - self.made) * ((self.whole - self.start) / self.left)

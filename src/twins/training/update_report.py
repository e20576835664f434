"""What all ranks report of an update: its mean loss, whether that is finite, and whether to save or to stop.

A report is made and summed over the ranks on the device, and copied to the host meanwhile, so that the host can queue
more work for a GPU before it reads it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..data.loading import Batch
from ..distributed.collectives import all_gather_object, all_sum
from ..distributed.world import World
from ..errors import TwinsError


@dataclass(frozen=True)
class UpdatePosition:
    """Which update of a run."""

    epoch: int
    step: int  # updates of the epoch before this one
    lr: float  # of the layer that learns fastest

    def __str__(self) -> str:
        return f"epoch {self.epoch}, step {self.step}, at learning rate {self.lr:.3g}"


class HostCopy:
    """A small tensor on its way to the host, which waits for it only where it reads it."""

    def __init__(self, tensor: Tensor) -> None:
        self.copy = tensor.to("cpu", non_blocking=tensor.is_cuda)
        self.arrived = torch.cuda.Event() if tensor.is_cuda else None
        if self.arrived is not None:
            self.arrived.record()

    def read(self) -> list[float]:
        if self.arrived is not None:
            self.arrived.synchronize()
        return self.copy.tolist()


class UpdateReport:
    """One update's report; every rank has to make it, and to read it after the same update.

    `sums` is (5,) float32 on the device, over all ranks: loss times images, images, losses that are not finite, ranks
    that were asked to stop, and ranks for which it is time to save. A loss that is not finite counts as 0 in the first.
    """

    def __init__(
        self, position: UpdatePosition, loss: Tensor, parts: Sequence[Batch], stop: bool, save: bool, world: World
    ) -> None:
        """`loss` is (), this rank's mean over `parts`."""
        images = sum(len(batch) for batch in parts)
        self.position, self.indices = position, [index for batch in parts for index in batch.indices]
        self.finite = torch.isfinite(loss.float())
        # Filled on the device: a tensor made from Python's numbers would be copied there, which waits for it.
        mine = [
            (loss * images).masked_fill(~self.finite, 0.0),
            loss.new_full((), images),
            (~self.finite).to(loss),
            loss.new_full((), float(stop)),
            loss.new_full((), float(save)),
        ]
        self.sums = all_sum(torch.stack(mine).float().to(world.collective_device))
        self.on_host = HostCopy(self.sums)

    def read(self, name: Callable[[int], str]) -> tuple[float, bool, bool]:
        """(mean loss over all ranks, whether any rank was asked to stop, whether it is time to save on any).

        Raises TwinsError on every rank if any rank's loss was not finite; `name` names the image of an index.
        """
        loss, images, not_finite, stop, save = self.on_host.read()
        if not_finite:
            mine = [] if self.finite else [name(index) for index in self.indices]
            names = [image for of_rank in all_gather_object(mine) for image in of_rank]
            raise TwinsError(
                f"loss is not finite in {self.position}; try a lower --lr or --clip-grad; the batch: {', '.join(names)}"
            )
        return loss / images, stop > 0, save > 0


class UnreadReports:
    """The reports of updates that the host has not waited for yet, and what those ask for that it has read."""

    def __init__(self, name: Callable[[int], str]) -> None:
        """`name` names the image of an index."""
        self.name = name
        self.stop = self.save = False
        self.note = ""  # the loss that was read last, for people
        self._reports: deque[UpdateReport] = deque()

    def add(self, report: UpdateReport, at_most: int) -> None:
        """Add one, and read the earliest until `at_most` are left; raises what `UpdateReport.read` does."""
        self._reports.append(report)
        self._read(at_most)

    def read_all(self) -> None:
        """Wait for those that are left."""
        self._read(0)

    def _read(self, at_most: int) -> None:
        while len(self._reports) > at_most:
            loss, stop, save = self._reports.popleft().read(self.name)
            self.stop, self.save = stop or self.stop, save or self.save
            self.note = f"loss {loss:.3f}"
